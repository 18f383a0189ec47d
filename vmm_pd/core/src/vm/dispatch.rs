//! From an exit to its outcome.

use super::{Observer, Outcome, Processor, Vm};
use crate::apic::{GeneralProtection, Mode};
use crate::arch::{
    DR7_GD, Field, Interruption, InterruptionType, PENDING_DEBUG_BS, cr0, cr4, interruptibility, rflags,
    vector,
};
use crate::control::{self, ControlFault};
use crate::cpuid::{Leaf, Shown, cpuid, shows_osxsave};
use crate::devices::IoOutcome;
use crate::exit::{IoAccess, RawExit, VmExit};
use crate::msr::{self, Owner};
use crate::pmu::{Access, PmuError, PmuLink};
use crate::registers::{Gpr, low};
use crate::report::StopReason;
use crate::vcpu::Vcpu;
use pmu_api::{OverflowDecision, Privilege};

const GENERAL_PROTECTION: Outcome = Outcome::Fault(Interruption::exception_with_code(vector::GP));
const UNDEFINED: Outcome = Outcome::Fault(Interruption::exception(vector::UD));
impl<L: PmuLink> Vm<L> {
    #[inline(always)]
    pub(super) fn dispatch<V: Vcpu, O: Observer>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        observer: &mut O,
        exit: &RawExit,
    ) -> Outcome {
        let length = exit.instruction_length;
        match exit.decode() {
            VmExit::Wrmsr => self.write_msr(cpu, length),
            VmExit::Rdmsr => self.read_msr(cpu, length),
            VmExit::Rdpmc => self.rdpmc(cpu, length),
            VmExit::ExternalInterrupt { .. } => self.pmi(cpu),
            VmExit::InterruptWindow | VmExit::NmiWindow => Outcome::Again,
            VmExit::PreemptionTimer => {
                self.timer_expired(cpu.vcpu);
                Outcome::Again
            }
            VmExit::Cpuid => {
                self.cpuid(cpu);
                Outcome::Completed(length)
            }
            VmExit::Hlt => Outcome::Halted(length),
            VmExit::Io(access) if access.string => self.string_io(cpu, observer, exit, access),
            VmExit::Io(access) => self.io(cpu, observer, access, length),
            VmExit::ControlRegister(access) => {
                let registers = cpu.changed.get_or_insert(*cpu.exited);
                let cr4 = self.switched.cr4();
                let done = control::control_register(cpu.vcpu, &mut self.apic, registers, cr4, access);
                control_outcome(done, length)
            }
            // SDM vol. 3C, 26.1.3: these exits come before the check of the privilege level.
            VmExit::DebugRegister(_) if cpu.privilege_level() != 0 => GENERAL_PROTECTION,
            VmExit::DebugRegister(access) => {
                let long = control::is_long(cpu.vcpu);
                control_outcome(self.debug.access(cpu.registers_mut(), access, long), length)
            }
            VmExit::EptViolation(violation) => self.ept_violation(cpu, exit, violation),
            // A processor without it.
            VmExit::Xsetbv if self.switched.offered() == 0 => UNDEFINED,
            // SDM vol. 2C, XSETBV. Bochs exits before it has checked.
            VmExit::Xsetbv if cpu.privilege_level() != 0 => GENERAL_PROTECTION,
            VmExit::Xsetbv => {
                let (register, value) = (cpu.registers().low(Gpr::Rcx), cpu.registers().edx_eax());
                let done = self.switched.xsetbv(cpu.vcpu, register, value);
                done.map_or(GENERAL_PROTECTION, |()| Outcome::Completed(length))
            }
            VmExit::Undefined => UNDEFINED,
            // Nothing of the guest's is in a cache that it could see.
            VmExit::Invd | VmExit::Wbinvd | VmExit::Pause => Outcome::Completed(length),
            // There is no other processor that could have sent one.
            VmExit::InitSignal | VmExit::StartupIpi => Outcome::Again,
            VmExit::ExceptionOrNmi => exception(cpu.vcpu, exit),
            VmExit::TripleFault => Outcome::Stop(StopReason::TripleFault),
            VmExit::TaskSwitch => Outcome::Stop(StopReason::Unsupported("task switch")),
            VmExit::EntryFailure => {
                Outcome::Stop(StopReason::EntryFailure { error: cpu.vcpu.read(Field::InstructionError) })
            }
            VmExit::Unknown(reason) => Outcome::Stop(StopReason::UnknownExit(reason)),
        }
    }

    fn cpuid<V: Vcpu>(&self, cpu: &mut Processor<'_, V>) {
        let apic = self.apic.mode() != Mode::Disabled;
        let switched = &self.switched;
        let (eax, ecx) = (cpu.registers().low(Gpr::Rax), cpu.registers().low(Gpr::Rcx));
        // The read is a system call.
        let osxsave = shows_osxsave(eax)
            && switched.offered() != 0
            && cpu.vcpu.read(Field::GuestCr4) & cr4::OSXSAVE != 0;
        let shown = Shown { pmu: &self.configuration, apic, tsc_hz: self.tsc_hz, switched, osxsave };
        let Leaf { eax, ebx, ecx, edx } = cpuid(eax, ecx, &shown);
        for (register, value) in [(Gpr::Rax, eax), (Gpr::Rbx, ebx), (Gpr::Rcx, ecx), (Gpr::Rdx, edx)] {
            cpu.registers_mut().set(register, u64::from(value));
        }
    }

    fn write_msr<V: Vcpu>(&mut self, cpu: &mut Processor<'_, V>, length: u64) -> Outcome {
        let (number, value) = (cpu.registers().low(Gpr::Rcx), cpu.registers().edx_eax());
        let done = match msr::owner_of_write(number) {
            Owner::PmuControl => {
                self.statistics.control_traps += 1;
                self.write_pmu(number, value)
            }
            Owner::PmuData => {
                self.statistics.data_accesses += 1;
                self.write_pmu(number, value)
            }
            Owner::Apic => self.apic.write_msr(number, value, cpu.vcpu.now()),
            Owner::MemoryTypes => self.mtrrs.write(number, value),
            Owner::Time => self.write_time(cpu.vcpu, number, value),
            Owner::Switched if self.switched.read(number).is_ok() => {
                self.switched.write(cpu.vcpu, number, value)
            }
            Owner::Vmm => {
                let pmu = self.has_pmu();
                let efer = self.switched.efer();
                msr::write(cpu.vcpu, &mut self.apic, pmu, efer, number, value)
            }
            Owner::Switched | Owner::None => self.unknown_msr(),
        };
        done.map_or(GENERAL_PROTECTION, |()| Outcome::Completed(length))
    }

    fn read_msr<V: Vcpu>(&mut self, cpu: &mut Processor<'_, V>, length: u64) -> Outcome {
        let number = cpu.registers().low(Gpr::Rcx);
        let value = match msr::owner(number) {
            Owner::PmuControl => {
                self.statistics.control_reads += 1;
                self.read_pmu(number)
            }
            Owner::PmuData => {
                self.statistics.data_accesses += 1;
                self.read_pmu(number)
            }
            Owner::Apic => self.apic.read_msr(number, cpu.vcpu.now()),
            Owner::MemoryTypes => self.mtrrs.read(number),
            Owner::Time => self.read_time(cpu.vcpu, number),
            Owner::Switched => self.switched.read(number).or_else(|_| self.unknown_msr()),
            Owner::Vmm => msr::read(cpu.vcpu, &self.apic, self.has_pmu(), number),
            Owner::None => self.unknown_msr(),
        };
        value.map_or(GENERAL_PROTECTION, |value| {
            cpu.registers_mut().set_edx_eax(value);
            Outcome::Completed(length)
        })
    }

    fn rdpmc<V: Vcpu>(&mut self, cpu: &mut Processor<'_, V>, length: u64) -> Outcome {
        self.statistics.data_accesses += 1;
        let [rights, ..] = cpu.vcpu.read(Field::GuestSsAccessRights).to_le_bytes();
        // SDM vol. 3C, table 25-2: the DPL of SS is the CPL.
        let cpl = rights >> 5 & 3;
        // Neither register matters at CPL 0 (SDM vol. 2B, RDPMC), and to read one is a system call.
        let protected = cpl == 0 || cpu.vcpu.read(Field::GuestCr0) & cr0::PE != 0;
        let allowed = cpl != 0 && cpu.vcpu.read(Field::GuestCr4) & cr4::PCE != 0;
        let privilege = Privilege::new(cpl, protected, allowed);
        let answer = self.pmu.rdpmc(cpu.registers().low(Gpr::Rcx), privilege);
        self.answer(answer).map_or(GENERAL_PROTECTION, |value| {
            cpu.registers_mut().set_edx_eax(value);
            Outcome::Completed(length)
        })
    }

    fn write_pmu(&mut self, number: u32, value: u64) -> Result<(), GeneralProtection> {
        let answer = self.pmu.write(number, value);
        self.answer(answer)
    }

    fn read_pmu(&mut self, number: u32) -> Result<u64, GeneralProtection> {
        let answer = self.pmu.read(number);
        self.answer(answer)
    }

    /// A failure of the policy domain is #GP(0) for the guest; the first one is reported.
    fn answer<T>(&mut self, answer: Result<Access<T>, PmuError>) -> Result<T, GeneralProtection> {
        match answer {
            Ok(Access::Done(value)) => Ok(value),
            Ok(Access::Fault) => Err(GeneralProtection),
            Err(error) => {
                self.pmu_error.get_or_insert(error);
                Err(GeneralProtection)
            }
        }
    }

    fn pmi<V: Vcpu>(&mut self, cpu: &Processor<'_, V>) -> Outcome {
        self.statistics.pmi.raised += 1;
        let decision = if self.configuration.report_overflow {
            self.pmu.overflow().unwrap_or_else(|error| {
                self.pmu_error.get_or_insert(error);
                OverflowDecision::Spurious
            })
        } else {
            OverflowDecision::Deliver
        };
        match decision {
            OverflowDecision::Deliver => self.deliver_pmi(),
            OverflowDecision::Delay { cycles } if self.delayed_pmi.is_none() => {
                self.delayed_pmi = Some(cpu.vcpu.now().saturating_add(cycles));
            }
            OverflowDecision::Delay { .. } => self.statistics.pmi.joined += 1,
            OverflowDecision::Spurious => self.statistics.pmi.spurious += 1,
        }
        Outcome::Again
    }

    pub(super) const fn has_pmu(&self) -> bool {
        self.configuration.leaf_a[0] & 0xff != 0
    }

    fn unknown_msr<T>(&mut self) -> Result<T, GeneralProtection> {
        self.statistics.unknown_msrs += 1;
        Err(GeneralProtection)
    }

    fn io<V: Vcpu, O: Observer>(
        &mut self,
        cpu: &mut Processor<'_, V>,
        observer: &mut O,
        access: IoAccess,
        length: u64,
    ) -> Outcome {
        let now = cpu.vcpu.now();
        if access.input {
            let value = u64::from(self.devices.read(access, now));
            // SDM vol. 1, 3.4.1.1: a 32-bit result clears the upper half, a smaller one keeps the rest.
            let kept =
                if access.bytes < 4 { cpu.registers().get(Gpr::Rax) & !u64::from(access.mask()) } else { 0 };
            cpu.registers_mut().set(Gpr::Rax, kept | value);
            return Outcome::Completed(length);
        }
        match self.devices.write(access, cpu.registers().low(Gpr::Rax), now) {
            IoOutcome::Written => {}
            IoOutcome::Output(byte) => observer.output(byte),
            IoOutcome::Ended(stop) => return Outcome::Stop(stop),
        }
        Outcome::Completed(length)
    }
}

fn control_outcome(done: Result<(), ControlFault>, length: u64) -> Outcome {
    match done {
        Ok(()) => Outcome::Completed(length),
        Err(ControlFault::GeneralProtection) => GENERAL_PROTECTION,
        Err(ControlFault::Unsupported(what)) => Outcome::Stop(StopReason::Unsupported(what)),
    }
}

/// An intercepted exception (SDM vol. 3C, 25.9.2), or an NMI of the host, which the kernel has seen.
fn exception<V: Vcpu>(vcpu: &mut V, exit: &RawExit) -> Outcome {
    let event = Interruption(low(vcpu.read(Field::ExitInterruptionInformation)));
    let delivering = Interruption(low(vcpu.read(Field::IdtVectoringInformation)));
    match (event.kind(), event.vector()) {
        (InterruptionType::Nmi, _) => Outcome::Again,
        (InterruptionType::Exception, vector::AC | vector::DB) if delivering.is_valid() => {
            Outcome::Stop(StopReason::Delivery(delivering))
        }
        // SDM vol. 3B, 18.2.4 and 18.4.3: DR7.GD and IA32_DEBUGCTL.BTF are clear in the handler. DR6 is the kernel's matter.
        (InterruptionType::Exception, vector::DB) => {
            let control = vcpu.read(Field::GuestDr7);
            if control & DR7_GD != 0 {
                vcpu.write(Field::GuestDr7, control & !DR7_GD);
            }
            if vcpu.read(Field::GuestDebugctl) != 0 {
                vcpu.write(Field::GuestDebugctl, 0);
            }
            // SDM vol. 3C, 27.3.1.5: under blocking by STI or MOV SS a guest with TF enters only with the step pending. This
            // exit does not save it so (28.3.4), and the exception that is injected takes its place (27.7.3).
            let blocking = interruptibility::STI | interruptibility::MOV_SS;
            if exit.rflags & rflags::TF != 0 && exit.interruptibility & blocking != 0 {
                vcpu.write(Field::GuestPendingDebug, PENDING_DEBUG_BS);
            }
            Outcome::Trap(0, Interruption::exception(vector::DB))
        }
        // INT1: a trap, after the instruction (SDM vol. 2A, INT n/INTO/INT3/INT1).
        (InterruptionType::PrivilegedSoftware, vector::DB) => {
            Outcome::Trap(exit.instruction_length, Interruption::exception(vector::DB))
        }
        (InterruptionType::Exception, vector::AC) => {
            Outcome::Fault(Interruption::exception_with_code(vector::AC))
        }
        (InterruptionType::Exception, vector::MC) => Outcome::Stop(StopReason::MachineCheck),
        _ => Outcome::Stop(StopReason::Delivery(event)),
    }
}
