//! The virtual CPU of a protection domain with a `<virtual_machine>`, with the names of our own runtime.

#[path = "../../../microkit/src/vcpu/exit.rs"]
mod exit;

pub use exit::{VcpuRegisters, VmExit};

use crate::slots::BASE_VCPU;
use crate::{Channel, Error, checked, with_msg_regs};
use core::arch::asm;
use sel4::{sys, with_ipc_buffer_mut};

/// Places of the message of an exit (libsel4, `sel4/arch/vmenter.h`, of which upstream makes no bindings). The first
/// four are in registers.
mod layout {
    pub const FAULT_QUALIFICATION: usize = 4;
    pub const FAULT_INSTRUCTION_LENGTH: usize = 5;
    pub const FAULT_GUEST_PHYSICAL: usize = 6;
    pub const FAULT_RFLAGS: usize = 7;
    pub const FAULT_GUEST_INTERRUPTIBILITY: usize = 8;
    pub const FAULT_CR3: usize = 9;
    pub const FAULT_REGISTERS: usize = 10;
}

/// What VM entry takes from the VMM and VM exit gives back.
#[derive(Debug, Copy, Clone, Default, Eq, PartialEq)]
pub struct EntryState {
    /// The guest's RIP.
    pub rip: u64,
    /// The primary processor-based VM-execution controls (SDM 25.6.2). The kernel forces some bits.
    pub primary_controls: u64,
    /// The VM-entry interruption-information field (SDM 25.8.3). After [`enter`], bit 31 is still set if the
    /// event was not injected: submit it again.
    pub interruption_info: u64,
}

/// What the VMM did on the guest's behalf since the last exit.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub enum Completed {
    /// No instruction.
    Nothing,
    /// One instruction that is not a branch.
    Instruction,
    /// One instruction that is a branch.
    Branch,
}

/// Why [`enter`] returned.
#[derive(Debug, Clone, Eq, PartialEq)]
pub enum Return {
    /// A VM exit.
    Exit(VmExit),
    /// These channels were notified; the guest is as it was when it was interrupted.
    Notified(Channels),
}

/// Channels that were notified. Upstream's `ChannelSet` can be made by upstream alone.
#[derive(Debug, Copy, Clone, Eq, PartialEq)]
pub struct Channels(u64);

impl Channels {
    /// Whether `channel` is one of them.
    pub const fn contains(&self, channel: Channel) -> bool {
        self.0 >> channel.index() & 1 != 0
    }
}

/// What the message-info register holds after an exit.
const EXITED: u64 = 1;

/// MSRs of SYSCALL (SDM volume 3A, 5.8.8).
const STAR: u32 = 0xC000_0081;
const LSTAR: u32 = 0xC000_0082;
const FMASK: u32 = 0xC000_0084;

/// Runs the guest of the calling thread's VCPU. The message registers are overwritten. This kernel does not account for
/// completed instructions: that is the VMM's (`vmm_core::stock`), which passes [`Completed::Nothing`].
pub fn enter(state: &mut EntryState, _: Completed) -> Return {
    let (badge, info, reason): (u64, u64, u64);
    // SAFETY: the kernel's ABI: message registers 0 to 3 are R10, R8, R9 and R15, the others are in the IPC buffer, which no
    // reference is held to here; RSP is kept in R14.
    unsafe {
        asm!("mov r14, rsp", "syscall", "mov rsp, r14",
            in("rdx") i64::from(sys::syscall_id::VMEnter),
            inlateout("rdi") 0_u64 => badge, inlateout("rsi") 0_u64 => info,
            inlateout("r10") state.rip, inlateout("r8") state.primary_controls,
            inlateout("r9") state.interruption_info, inlateout("r15") 0_u64 => reason,
            in("r12") 0_u64, lateout("rcx") _, lateout("r11") _, lateout("r14") _);
    }
    if info != EXITED {
        return Return::Notified(Channels(badge));
    }
    with_msg_regs(|registers| Return::Exit(VmExit::from_message(reason, registers)))
}

/// A virtual CPU, by its identifier in system.xml (`<vcpu id=...>`).
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
        let found =
            with_ipc_buffer_mut(|ipc| ipc.inner_mut().seL4_X86_VCPU_ReadVMCS(self.slot(), field.into()));
        checked(found.error, found.value)
    }

    /// Writes a VMCS field by its encoding (SDM appendix B) and returns what the field then holds: the kernel
    /// forces some bits of some fields, and refuses fields that it keeps to itself.
    pub fn write_vmcs(&self, field: u32, value: u64) -> Result<u64, Error> {
        let found = with_ipc_buffer_mut(|ipc| {
            ipc.inner_mut().seL4_X86_VCPU_WriteVMCS(self.slot(), field.into(), value)
        });
        checked(found.error, found.written)
    }

    /// Writes IA32_STAR, IA32_LSTAR or IA32_FMASK of the guest. Refused are other MSRs, which this kernel does not switch,
    /// and values that the processor would refuse: this kernel loads them unchecked.
    pub fn write_msr(&self, msr: u32, value: u64) -> Result<(), Error> {
        // SDM volume 3A, 5.8.8: the address is canonical, and bits 63:32 of the mask are reserved.
        let canonical = (value << 16).cast_signed() >> 16 == value.cast_signed();
        let takes = match msr {
            STAR => true,
            LSTAR => canonical,
            FMASK => value >> 32 == 0,
            _ => false,
        };
        if !takes {
            return Err(Error::InvalidArgument);
        }
        let found =
            with_ipc_buffer_mut(|ipc| ipc.inner_mut().seL4_X86_VCPU_WriteMSR(self.slot(), msr.into(), value));
        checked(found.error, ())
    }

    /// Refused: this kernel does not switch XCR0.
    pub fn write_xcr0(&self, _: u64) -> Result<(), Error> {
        Err(Error::InvalidArgument)
    }

    /// Refused: this kernel does not switch CR2.
    pub fn write_cr2(&self, _: u64) -> Result<(), Error> {
        Err(Error::InvalidArgument)
    }

    /// Sets the guest's general registers.
    pub fn write_registers(&self, registers: &VcpuRegisters) -> Result<(), Error> {
        let [eax, ebx, ecx, edx, esi, edi, ebp, r8, r9, r10, r11, r12, r13, r14, r15] = registers.to_words();
        let context =
            sys::seL4_VCPUContext { eax, ebx, ecx, edx, esi, edi, ebp, r8, r9, r10, r11, r12, r13, r14, r15 };
        let error =
            with_ipc_buffer_mut(|ipc| ipc.inner_mut().seL4_X86_VCPU_WriteRegisters(self.slot(), &context));
        checked(error, ())
    }

    fn slot(&self) -> u64 {
        BASE_VCPU + self.id as u64
    }
}
