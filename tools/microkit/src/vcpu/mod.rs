//! The virtual CPU of a protection domain with a `<virtual_machine>`, shaped after Microkit's
//! `microkit_vcpu_x86_*` functions, which upstream's `sel4-microkit` lacks.
//!
//! The VCPU is bound to the protection domain's own thread. [`enter`] runs the guest until it exits or one of
//! the protection domain's channels is notified. All else goes through [`Vcpu`].

mod exit;
pub mod pmu;

/// Channels that were notified.
pub use crate::ChannelSet as Channels;
pub use exit::{VcpuRegisters, VmExit};

use crate::kernel::with_ipc;
use crate::slots::BASE_VCPU;
use crate::{Error, ioport::IoPort};
use layout::{CALL_TIMER, FAULT_REASON, SET_TIMER, TIMER_SHIFT};
use sel4_abi::VmEnter;
use sel4_abi::numbers::guest_register;
use sel4_abi::numbers::pmu::{COMPLETED_BRANCH, COMPLETED_INSTRUCTION, COMPLETED_MR};
use sel4_abi::numbers::vm_enter as layout;
use static_assertions::const_assert_eq;

// The order of `VcpuRegisters`.
const_assert_eq!(guest_register::EAX, 0);
const_assert_eq!(guest_register::ESI, 4);
const_assert_eq!(guest_register::R8, 7);
const_assert_eq!(guest_register::R15 + 1, VcpuRegisters::COUNT);

// One word says both.
const_assert_eq!(CALL_TIMER as u64, COMPLETED_MR);
const_assert_eq!(SET_TIMER as u64 & (COMPLETED_INSTRUCTION | COMPLETED_BRANCH), 0);

/// What VM entry takes from the VMM and VM exit gives back: the three fields that are not reached by
/// [`Vcpu::write_vmcs`].
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq)]
pub struct EntryState {
    /// The guest's RIP.
    pub rip: u64,
    /// The primary processor-based VM-execution controls (SDM 25.6.2). The kernel forces some bits.
    pub primary_controls: u64,
    /// The VM-entry interruption-information field (SDM 25.8.3). After [`enter`], bit 31 is still set if the
    /// event was not injected: submit it again.
    pub interruption_info: u64,
    /// What the VMX-preemption timer is set to (SDM 26.5.1), if it is. [`enter`] takes it.
    pub preemption_timer: Option<u32>,
}

/// What the VMM did on the guest's behalf since the last exit; the kernel counts it where the guest's counters
/// count retired instructions or branches.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
#[repr(u64)]
pub enum Completed {
    /// No instruction.
    Nothing = 0,
    /// One instruction that is not a branch.
    Instruction = COMPLETED_INSTRUCTION,
    /// One instruction that is a branch.
    Branch = COMPLETED_INSTRUCTION | COMPLETED_BRANCH,
}

/// Why [`enter`] returned.
#[derive(Debug, Clone, Eq, PartialEq)]
pub enum Return {
    /// A VM exit.
    Exit(VmExit),
    /// These channels were notified; the guest is as it was when it was interrupted.
    Notified(Channels),
}

/// Runs the guest of the calling thread's VCPU. The message registers are overwritten.
pub fn enter(state: &mut EntryState, completed: Completed) -> Return {
    let timer =
        state.preemption_timer.take().map_or(0, |value| u64::from(value) << TIMER_SHIFT | SET_TIMER as u64);
    let mut words = [state.rip, state.primary_controls, state.interruption_info, completed as u64 | timer];
    with_ipc(|ipc| {
        let result = ipc.vm_enter(&mut words);
        [state.rip, state.primary_controls, state.interruption_info, _] = words;
        match result {
            VmEnter::Exit => Return::Exit(VmExit::from_message(words[FAULT_REASON], &ipc.buffer().message)),
            VmEnter::Notification { badge } => Return::Notified(Channels::from_badge(badge)),
        }
    })
}

/// A virtual CPU, by its identifier in system.xml (`<vcpu id=...>`). Invoking it needs the *run* right.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub struct Vcpu {
    id: usize,
}

impl Vcpu {
    /// The VCPU with the given identifier.
    ///
    /// # Panics
    /// If `id` is above 63.
    pub const fn new(id: usize) -> Self {
        assert!(id < 64);
        Self { id }
    }

    /// Reads a VMCS field by its encoding (SDM appendix B). The kernel refuses fields that it keeps to itself.
    pub fn read_vmcs(&self, field: u32) -> Result<u64, Error> {
        with_ipc(|ipc| ipc.vcpu_read_vmcs(self.slot(), field.into()))
    }

    /// Writes a VMCS field by its encoding (SDM appendix B) and returns what the field then holds: the kernel
    /// forces some bits of some fields, and refuses fields that it keeps to itself.
    pub fn write_vmcs(&self, field: u32, value: u64) -> Result<u64, Error> {
        with_ipc(|ipc| ipc.vcpu_write_vmcs(self.slot(), field.into(), value))
    }

    /// Writes IA32_STAR, IA32_LSTAR, IA32_FMASK or IA32_TSC_AUX of the guest. [`Error::InvalidArgument`] is a value
    /// that the processor would refuse, or IA32_TSC_AUX on one without RDTSCP.
    pub fn write_msr(&self, msr: u32, value: u64) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_write_msr(self.slot(), msr.into(), value))
    }

    /// Writes the guest's XCR0, 1 at first. [`Error::InvalidArgument`] is a value that the processor would refuse, or
    /// a state component beyond x87, SSE and AVX.
    pub fn write_xcr0(&self, value: u64) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_write_xcr0(self.slot(), value))
    }

    /// Writes the guest's CR2. [`Error::InvalidArgument`] is an address that is not canonical.
    pub fn write_cr2(&self, value: u64) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_write_cr2(self.slot(), value))
    }

    /// Sets the guest's general registers.
    pub fn write_registers(&self, registers: &VcpuRegisters) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_write_registers(self.slot(), &registers.to_words()))
    }

    /// Lets the guest use the ports `first` to `last` of `range` without an exit.
    pub fn enable_io_port(&self, range: IoPort, first: u16, last: u16) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_enable_io_port(self.slot(), range.slot(), first, last))
    }

    /// Makes the guest's use of the ports `first` to `last` exit again.
    pub fn disable_io_port(&self, first: u16, last: u16) -> Result<(), Error> {
        with_ipc(|ipc| ipc.vcpu_disable_io_port(self.slot(), first, last))
    }

    fn slot(&self) -> u64 {
        BASE_VCPU + self.id as u64
    }
}
