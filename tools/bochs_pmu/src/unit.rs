//! A processor of Bochs with its PMU: what each hook means for the two.
#![forbid(unsafe_code)]

mod registers;

use crate::bochs::{Cpu, Features, Functions};
use crate::frequency::Frequency;
use crate::other_msrs::OtherMsrs;
use crate::processor::{Processor, Transition};
use crate::settings::Settings;
use pmu_model::{ExitLoads, GeneralProtection, Geometry, GeometryError, GuestLoads, Lvtpc, PerfCapabilities};

/// VMCS fields and control bits (SDM vol. 3D, appendix B; vol. 3C, 25.7.1 and 25.8.1).
mod vmcs {
    pub const PROCESSOR_CONTROLS: u32 = 0x4002;
    pub const INTERRUPT_WINDOW_EXITING: u32 = 1 << 2;
    pub const RDPMC_EXITING: u32 = 1 << 11;
    pub const EXIT_INTERRUPTION: u32 = 0x4404;
    pub const EXIT_CONTROLS: u32 = 0x400C;
    pub const EXIT_SAVE_DEBUG: u32 = 1 << 2;
    pub const EXIT_LOAD_GLOBAL_CTRL: u32 = 1 << 12;
    pub const EXIT_SAVE_GLOBAL_CTRL: u32 = 1 << 30;
    pub const ENTRY_CONTROLS: u32 = 0x4012;
    pub const ENTRY_LOAD_DEBUG: u32 = 1 << 2;
    pub const ENTRY_LOAD_GLOBAL_CTRL: u32 = 1 << 13;
    pub const GUEST_DEBUGCTL: u32 = 0x2802;
    pub const GUEST_GLOBAL_CTRL: u32 = 0x2808;
    pub const HOST_GLOBAL_CTRL: u32 = 0x2C04;
    pub const GUEST_RFLAGS: u32 = 0x6820;
    pub const HOST_RIP: u32 = 0x6C16;
}

/// Fails the checks of the host state: no canonical address.
const INVALID_HOST_RIP: u64 = 0x5555_5555_5555_5555;
/// Fails the checks of the guest state: bit 1 must be 1.
const INVALID_GUEST_RFLAGS: u64 = 0;
/// Bit 31 of an exit reason: the VM entry failed.
const ENTRY_FAILURE: u32 = 1 << 31;
/// A VM exit by an I/O instruction (SDM vol. 3D, appendix C).
const IO_INSTRUCTION: u32 = 30;
/// VM exits by an exception or NMI, an external interrupt, the interrupt window, the NMI window, the
/// VMX-preemption timer.
const EXCEPTION_OR_NMI: u32 = 0;
const EXTERNAL_INTERRUPT: u32 = 1;
const INTERRUPT_WINDOW: u32 = 7;
const NMI_WINDOW: u32 = 8;
const PREEMPTION_TIMER: u32 = 52;
/// Type and validity of VM-exit interruption information, and those of an NMI (SDM vol. 3C, table 25-17).
const INTERRUPTION_TYPE: u32 = 1 << 31 | 7 << 8;
const INTERRUPTION_NMI: u32 = 1 << 31 | 2 << 8;
/// RFLAGS.IF.
const RFLAGS_IF: u64 = 1 << 9;

/// What an MSR or RDPMC access does: `None` means that Bochs decides.
pub type Access<T> = Option<Result<T, GeneralProtection>>;

/// The port that an I/O instruction writes to, by the exit's qualification (SDM vol. 3C, table 28-5): bit 3 is the
/// direction, bits 31:16 are the port.
fn written_port(qualification: u64) -> Option<u16> {
    if qualification & 1 << 3 != 0 {
        return None;
    }
    u16::try_from(qualification >> 16 & 0xFFFF).ok()
}

/// Whether an event makes a VM exit directly: none of the guest's instructions, and not by way of its IDT.
fn is_direct(reason: u32, interruption: u32) -> bool {
    match reason {
        EXCEPTION_OR_NMI => interruption & INTERRUPTION_TYPE == INTERRUPTION_NMI,
        EXTERNAL_INTERRUPT | INTERRUPT_WINDOW | NMI_WINDOW | PREEMPTION_TIMER => true,
        _ => false,
    }
}

/// A processor and its PMU.
pub struct Unit {
    /// Bochs's processor.
    pub cpu: &'static Cpu,
    /// The PMU and what feeds it.
    pub processor: Processor,
    other: OtherMsrs,
    frequency: Frequency,
    last_leaf: u32,
    mark: Option<u16>,
    /// Cycles to charge when the running instruction completes.
    charge_on_completion: u32,
    /// RIP after the running REP instruction.
    repeat_end: Option<u64>,
    /// An MSR list may be at work: WRMSR is not an instruction's.
    in_transition: bool,
    /// The processor halted, and no instruction began since.
    halted: bool,
    /// A VMCS field with an invalid value that makes the running VM entry fail, and its own value.
    spoiled: Option<(u32, u64)>,
    interrupt_mask_due: bool,
    interrupt_slot: Option<u64>,
    exit_charge_due: bool,
    boundary: bool,
    restart: bool,
    attention: bool,
}

impl Unit {
    /// A processor after power-up.
    ///
    /// # Errors
    /// [`GeometryError`] when the CPU model has no PMU that the model can be.
    pub fn new(cpu: &'static Cpu, features: &Features, settings: &Settings) -> Result<Self, GeometryError> {
        let geometry = Geometry::from_cpuid(features.leaf_0a)?;
        let capabilities = features.perf_capabilities.then_some(PerfCapabilities(PerfCapabilities::FW_WRITE));
        let frequency = Frequency::new(features.ticks_per_second);
        Ok(Self {
            cpu,
            processor: Processor::new(geometry, capabilities, settings),
            other: OtherMsrs::new(frequency),
            frequency,
            last_leaf: features.last_leaf,
            mark: settings.mark,
            charge_on_completion: 0,
            repeat_end: None,
            in_transition: false,
            halted: false,
            spoiled: None,
            interrupt_mask_due: false,
            interrupt_slot: None,
            exit_charge_due: false,
            boundary: false,
            restart: false,
            attention: false,
        })
    }

    /// For how many more slots [`Unit::after_instruction`] need not be called when `complete` slots are.
    pub fn idle_slots(&self, complete: u64) -> u64 {
        if self.attention { 0 } else { self.processor.wake().saturating_sub(complete + 1) }
    }

    /// Whether [`Unit::before_instruction`] must be called before the next instruction.
    pub fn at_boundary(&self) -> bool {
        self.boundary
    }

    /// An instruction, or an iteration of a REP instruction, completed.
    pub fn after_instruction(&mut self, functions: &Functions) {
        let slot = self.cpu.slot();
        let now = slot + 1;
        self.attention = false;
        if self.repeat_end.take().is_some_and(|end| end != self.cpu.instruction_pointer()) {
            self.processor.abandon_slot(slot);
        }
        if self.in_transition {
            self.entry_returned(functions, slot);
        }
        self.processor.charge(std::mem::take(&mut self.charge_on_completion), now);
        if now >= self.processor.wake() {
            self.processor.sync(now);
        }
        self.processor.set_ring(self.cpu.privilege(), now);
        self.deliver_pmi(functions, now);
    }

    /// An instruction begins after an event that is none: a fault, an interrupt, a VM exit, a reset.
    pub fn before_instruction(&mut self, functions: &Functions) {
        let now = self.cpu.slot();
        self.boundary = false;
        self.halted = false;
        if std::mem::take(&mut self.restart) {
            self.processor.restart(now);
        }
        self.charge_on_completion = 0;
        self.repeat_end = None;
        self.in_transition = false;
        let interrupted = self.interrupt_slot.take();
        if let Some(slot) = interrupted.filter(|&slot| slot < now) {
            // A virtual interrupt ends its slot; others take none.
            self.processor.abandon_slot(slot);
        }
        self.processor.abandon_entry();
        self.processor.complete_exit(self.cpu.privilege());
        self.processor.set_ring(self.cpu.privilege(), now);
        if std::mem::take(&mut self.interrupt_mask_due) && self.cpu.in_guest() {
            self.cpu.update_interrupt_mask(functions);
        }
        if std::mem::take(&mut self.exit_charge_due) {
            self.processor.charge(self.processor.costs.vm_exit, now);
        }
        if interrupted.is_some() {
            self.processor.charge(self.processor.costs.interrupt, now);
        }
        self.deliver_pmi(functions, now);
    }

    fn deliver_pmi(&mut self, functions: &Functions, now: u64) {
        if !self.processor.pmi_due(now) {
            return;
        }
        let mut lvtpc = Lvtpc(self.cpu.lvtpc());
        if let Some(delivery) = self.processor.deliver_pmi(&mut lvtpc, now) {
            self.cpu.set_lvtpc(lvtpc.0);
            self.cpu.interrupt(functions, delivery);
        }
    }

    /// HLT or MWAIT is executed, or a VM entry loads another activity state than the active one.
    pub fn halt(&mut self, functions: &Functions) {
        self.processor.halt(self.cpu.slot() + 1);
        self.halted = self.cpu.is_halted();
        self.boundary |= self.halted;
        if self.halted && self.in_transition && self.interrupt_window(functions) {
            // SDM vol. 3C, 26.2: such a VM exit wakes the processor. Stock Bochs waits for another event first.
            self.cpu.set_halted(false);
        }
    }

    /// Whether the guest that is entered exits at once, because interrupts are open.
    fn interrupt_window(&self, functions: &Functions) -> bool {
        let controls = self.cpu.vmread32(functions, vmcs::PROCESSOR_CONTROLS);
        controls & vmcs::INTERRUPT_WINDOW_EXITING != 0
            && self.cpu.vmread64(functions, vmcs::GUEST_RFLAGS) & RFLAGS_IF != 0
    }

    /// A far branch is executed, which may change the ring.
    pub fn far_branch(&mut self) {
        self.processor.other_branch();
        self.attention = true;
    }

    /// One iteration of a REP instruction was executed.
    pub fn repeat_iteration(&mut self) {
        self.repeat_end = Some(self.cpu.instruction_pointer());
        self.attention = true;
    }

    /// A power-up reset.
    pub fn power_up(&mut self) {
        self.processor.reset(self.cpu.slot());
        self.other = OtherMsrs::new(self.frequency);
        self.spoiled = None;
        self.restart = true;
        self.boundary = true;
    }

    /// A fault or trap is raised; Bochs abandons what it does.
    pub fn exception(&mut self, functions: &Functions) {
        let slot = self.cpu.slot();
        if self.cpu.in_guest() {
            // The event that a VM entry injects faulted: the entry itself succeeded.
            self.entry_succeeded(slot);
        }
        self.restore_spoiled(functions);
        self.processor.abandon_slot(slot);
        self.boundary = true;
    }

    /// An external interrupt or NMI is delivered.
    pub fn hardware_interrupt(&mut self) {
        self.interrupt_slot = Some(self.cpu.slot());
        self.boundary = true;
    }

    /// VMLAUNCH or VMRESUME begins.
    pub fn entry_begins(&mut self, functions: &Functions) {
        if !self.cpu.can_enter() {
            return;
        }
        let cpu = self.cpu;
        let slot = cpu.slot();
        cpu.unblock_virtual_nmis();
        let controls = cpu.vmread32(functions, vmcs::ENTRY_CONTROLS);
        let read_if = |bit, field| (controls & bit != 0).then(|| cpu.vmread64(functions, field));
        let guest = GuestLoads {
            perf_global_ctrl: read_if(vmcs::ENTRY_LOAD_GLOBAL_CTRL, vmcs::GUEST_GLOBAL_CTRL),
            debugctl: read_if(vmcs::ENTRY_LOAD_DEBUG, vmcs::GUEST_DEBUGCTL),
        };
        let host = self.host_loads(functions);
        if self.processor.pmu.check_host_state(&host).is_err() {
            self.spoil(functions, vmcs::HOST_RIP, INVALID_HOST_RIP);
        } else if self.processor.pmu.check_guest_state(&guest).is_err() {
            self.spoil(functions, vmcs::GUEST_RFLAGS, INVALID_GUEST_RFLAGS);
        }
        self.processor.charge(self.processor.costs.vm_entry, slot);
        self.processor.sync(slot);
        self.processor.transition = Transition::Entering(guest);
        self.in_transition = true;
        self.attention = true;
    }

    fn host_loads(&self, functions: &Functions) -> ExitLoads {
        let controls = self.cpu.vmread32(functions, vmcs::EXIT_CONTROLS);
        let load = controls & vmcs::EXIT_LOAD_GLOBAL_CTRL != 0;
        ExitLoads { perf_global_ctrl: load.then(|| self.cpu.vmread64(functions, vmcs::HOST_GLOBAL_CTRL)) }
    }

    /// Makes the VM entry fail as it would for a PMU field that Bochs does not check.
    fn spoil(&mut self, functions: &Functions, field: u32, value: u64) {
        self.spoiled = Some((field, self.cpu.vmread64(functions, field)));
        self.cpu.vmwrite64(functions, field, value);
    }

    fn restore_spoiled(&mut self, functions: &Functions) {
        if let Some((field, value)) = self.spoiled.take() {
            self.cpu.vmwrite64(functions, field, value);
        }
    }

    /// The VM-entry instruction returned: it succeeded, or it was VMfail.
    fn entry_returned(&mut self, functions: &Functions, slot: u64) {
        self.restore_spoiled(functions);
        if self.cpu.in_guest() {
            self.entry_succeeded(slot);
            self.cpu.update_interrupt_mask(functions);
            self.interrupt_mask_due = false;
        } else {
            self.processor.abandon_entry();
        }
        self.in_transition = false;
    }

    fn entry_succeeded(&mut self, slot: u64) {
        if matches!(self.processor.transition, Transition::Entering(_)) {
            self.processor.complete_entry(slot);
            self.interrupt_mask_due = true;
            self.boundary = true;
        }
    }

    /// A VM exit begins, before it saves anything; or a VM entry fails with an exit reason.
    pub fn vm_exit(&mut self, functions: &Functions, reason: u32, qualification: u64) {
        let slot = self.cpu.slot();
        self.restore_spoiled(functions);
        let entry_failed = reason & ENTRY_FAILURE != 0;
        if !entry_failed {
            self.entry_succeeded(slot);
        }
        if reason == IO_INSTRUCTION && self.mark.is_some_and(|port| written_port(qualification) == Some(port))
        {
            self.processor.sync(slot);
            self.processor.totals.mark();
        }
        let host = self.host_loads(functions);
        self.processor.begin_exit(reason, slot, host);
        if !entry_failed {
            // SDM vol. 3C, 28.1: an event that exits directly makes a halted processor active only after the
            // exit, which saves HLT. Stock Bochs wakes it before.
            if self.halted && is_direct(reason, self.cpu.vmread32(functions, vmcs::EXIT_INTERRUPTION)) {
                self.cpu.set_halted(true);
            }
            let controls = self.cpu.vmread32(functions, vmcs::EXIT_CONTROLS);
            let saved = self.processor.pmu.saved_state();
            if controls & vmcs::EXIT_SAVE_GLOBAL_CTRL != 0 {
                self.cpu.vmwrite64(functions, vmcs::GUEST_GLOBAL_CTRL, saved.perf_global_ctrl);
            }
            if controls & vmcs::EXIT_SAVE_DEBUG != 0 {
                self.cpu.vmwrite64(functions, vmcs::GUEST_DEBUGCTL, saved.debugctl);
            }
        }
        self.halted = false;
        self.exit_charge_due = true;
        // An interrupt that was acknowledged for this exit is not delivered.
        self.interrupt_slot = None;
        self.in_transition = true;
        self.boundary = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{EXCEPTION_OR_NMI, IO_INSTRUCTION, is_direct, written_port};

    /// SDM vol. 3C, 28.1, table 25-17: an NMI, and the page fault of a delivery through the guest's IDT.
    #[test]
    fn an_exception_is_not_what_woke_the_processor() {
        assert!(is_direct(EXCEPTION_OR_NMI, 0x8000_0202));
        assert!(!is_direct(EXCEPTION_OR_NMI, 0x8000_0B0E));
        assert!(!is_direct(IO_INSTRUCTION, 0));
    }

    /// SDM vol. 3C, table 28-5: `out 0xf5, al` and `in al, dx` of the same port.
    #[test]
    fn the_port_of_a_write_is_in_the_qualification() {
        assert_eq!(written_port(0xF5 << 16 | 1 << 6), Some(0xF5));
        assert_eq!(written_port(0xF5 << 16 | 1 << 3), None);
    }
}
