//! Operations on a VCPU: those of the right *run*, and those of the right *PMU*.

use crate::numbers::{guest_register, label, pmu};
use crate::{CPtr, Error, Ipc};

/// Number of words of [`GuestRegisters`].
const GUEST_REGISTERS: usize = guest_register::R15 + 1;

/// A guest's registers outside the VMCS, at the positions of `numbers::guest_register`.
pub type GuestRegisters = [u64; GUEST_REGISTERS];

/// What X86VCPUPmuGetGeometry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PmuGeometry {
    /// EAX, EBX, ECX and EDX of CPUID leaf 0xA.
    pub leaf_0a: [u32; 4],
    /// IA32_PERF_CAPABILITIES; 0 where there is none.
    pub perf_capabilities: u64,
    /// Bit 0: VM exits can save IA32_PERF_GLOBAL_CTRL.
    pub flags: u64,
}

/// What X86VCPUPmuGuestControl answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestControl {
    /// The guest's IA32_PERFEVTSELi.
    pub selectors: [u64; 8],
    /// The guest's IA32_FIXED_CTR_CTRL.
    pub fixed_control: u64,
    /// Writes of control registers that the kernel completed.
    pub approved_writes: u64,
    /// Reads of control registers that the kernel completed.
    pub approved_reads: u64,
}

impl Ipc {
    /// Gives a VCPU to a thread, whose VMEnter then enters its guest. Run right.
    pub fn vcpu_set_tcb(&mut self, vcpu: CPtr, tcb: CPtr) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_SET_TCB, &[], &[tcb])
    }

    /// Reads a VMCS field. Run right.
    pub fn vcpu_read_vmcs(&mut self, vcpu: CPtr, field: u64) -> Result<u64, Error> {
        self.invoke(vcpu, label::X86_VCPU_READ_VMCS, &[field], &[]).map(|words| words[0])
    }

    /// Writes a VMCS field; what was written, after the bits that the processor and the kernel fix. Run right.
    pub fn vcpu_write_vmcs(&mut self, vcpu: CPtr, field: u64, value: u64) -> Result<u64, Error> {
        self.invoke(vcpu, label::X86_VCPU_WRITE_VMCS, &[field, value], &[]).map(|words| words[0])
    }

    /// Writes the guest registers that are not in the VMCS. Run right.
    pub fn vcpu_write_registers(&mut self, vcpu: CPtr, registers: &GuestRegisters) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_WRITE_REGISTERS, registers, &[])
    }

    /// Lets the guest use I/O ports `first..=last` of an I/O port capability directly. Run right.
    pub fn vcpu_enable_io_port(&mut self, vcpu: CPtr, io: CPtr, first: u16, last: u16) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_ENABLE_IO_PORT, &[first.into(), last.into()], &[io])
    }

    /// Lets accesses of the guest to I/O ports `first..=last` exit. Run right.
    pub fn vcpu_disable_io_port(&mut self, vcpu: CPtr, first: u16, last: u16) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_DISABLE_IO_PORT, &[first.into(), last.into()], &[])
    }

    /// Writes IA32_STAR, IA32_LSTAR, IA32_FMASK or IA32_TSC_AUX of the guest. Run right.
    pub fn vcpu_write_msr(&mut self, vcpu: CPtr, msr: u64, value: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_WRITE_MSR, &[msr, value], &[])
    }

    /// Writes the guest's XCR0. Run right.
    pub fn vcpu_write_xcr0(&mut self, vcpu: CPtr, value: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_WRITE_XCR0, &[value], &[])
    }

    /// Writes the guest's CR2. Run right.
    pub fn vcpu_write_cr2(&mut self, vcpu: CPtr, value: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_WRITE_CR2, &[value], &[])
    }

    /// The hardware's PMU. PMU right.
    #[allow(clippy::cast_possible_truncation, reason = "CPUID answers with 32 bits each")]
    pub fn vcpu_pmu_get_geometry(&mut self, vcpu: CPtr) -> Result<PmuGeometry, Error> {
        let [a, b, c, d] = self.invoke(vcpu, label::X86_VCPU_PMU_GET_GEOMETRY, &[], &[])?;
        let message = &self.buffer().message;
        const _: () = assert!(pmu::GEOMETRY_WORDS == 6);
        Ok(PmuGeometry {
            leaf_0a: [a as u32, b as u32, c as u32, d as u32],
            perf_capabilities: message[4],
            flags: message[5],
        })
    }

    /// Sets how the guest's PMU accesses are treated (`numbers::pmu::MODE_*`). PMU right.
    pub fn vcpu_pmu_set_mode(&mut self, vcpu: CPtr, mode: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_PMU_SET_MODE, &[mode], &[])
    }

    /// Writes an MSR of the VCPU's PMU context. PMU right.
    pub fn vcpu_pmu_write_msr(&mut self, vcpu: CPtr, msr: u64, value: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_PMU_WRITE_MSR, &[msr, value], &[])
    }

    /// Programs `hardware` into a control register, makes `guest` the guest's value, and approves of the pair: the kernel
    /// completes the guest's own writes of that value from then on. PMU right.
    pub fn vcpu_pmu_approve(&mut self, vcpu: CPtr, msr: u64, guest: u64, hardware: u64) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_PMU_APPROVE, &[msr, guest, hardware], &[])
    }

    /// Approves of no pair any more. PMU right.
    pub fn vcpu_pmu_withdraw(&mut self, vcpu: CPtr) -> Result<(), Error> {
        self.void(vcpu, label::X86_VCPU_PMU_WITHDRAW, &[], &[])
    }

    /// The control registers as the guest has written them, and how often the kernel completed its accesses. PMU
    /// right.
    pub fn vcpu_pmu_guest_control(&mut self, vcpu: CPtr) -> Result<GuestControl, Error> {
        let [a, b, c, d] = self.invoke(vcpu, label::X86_VCPU_PMU_GUEST_CONTROL, &[], &[])?;
        let message = &self.buffer().message;
        const _: () = assert!(pmu::GUEST_CONTROL_WORDS == 11);
        Ok(GuestControl {
            selectors: [a, b, c, d, message[4], message[5], message[6], message[7]],
            fixed_control: message[8],
            approved_writes: message[9],
            approved_reads: message[10],
        })
    }

    /// Reads an MSR of the VCPU's PMU context. PMU right.
    pub fn vcpu_pmu_read_msr(&mut self, vcpu: CPtr, msr: u64) -> Result<u64, Error> {
        self.invoke(vcpu, label::X86_VCPU_PMU_READ_MSR, &[msr], &[]).map(|words| words[0])
    }
}
