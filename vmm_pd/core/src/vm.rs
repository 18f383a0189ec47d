//! The virtual machine: runs the guest until it stops.

mod dispatch;
mod events;
mod memory;
mod operands;
mod segment;
mod string;
mod time;

use crate::apic::LocalApic;
use crate::arch::{
    DEBUGCTL_BTF, Field, Interruption, PENDING_DEBUG_BS, activity, cr0, interruptibility, primary, rflags,
    secondary, vector,
};
use crate::boot::{self, Start};
use crate::control::{DebugRegisters, is_long};
use crate::devices::{Devices, IoOutcome};
use crate::exit::{RawExit, reason};
use crate::mtrr::Mtrrs;
use crate::pmu::{Pmu, PmuError, PmuLink};
use crate::registers::Registers;
use crate::report::{History, Report, Statistics, StopReason};
use crate::switched::SwitchedRegisters;
use crate::tsc::TimeStampCounter;
use crate::vcpu::{Entry, Return, Vcpu};
use events::PreemptionTimer;
use pmu_api::Configuration;

/// What the VMM does after an exit. Handlers decide it; [`Vm::run`] alone applies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The instruction of this length in bytes is done.
    Completed(u64),
    /// HLT of this length in bytes is done.
    Halted(u64),
    /// The guest goes on where it is.
    Again,
    /// Part of a repeated string instruction is done; the guest goes on with the rest of it.
    Iterated,
    /// The instruction raises this exception.
    Fault(Interruption),
    /// What has happened so far, with an instruction of this length in bytes, leads to this exception.
    Trap(u64, Interruption),
    /// The guest does not go on.
    Stop(StopReason),
}

/// What wants to know what the guest does.
pub trait Observer {
    /// The guest sends a byte on COM1.
    fn output(&mut self, byte: u8);

    /// An exit and what the VMM does about it.
    fn exit(&mut self, exit: &RawExit, outcome: &Outcome) {
        let _ = (exit, outcome);
    }
}

/// A virtual machine with one processor.
#[derive(Debug)]
pub struct Vm<L> {
    pmu: Pmu<L>,
    configuration: Configuration,
    pmu_error: Option<PmuError>,
    apic: LocalApic,
    devices: Devices,
    mtrrs: Mtrrs,
    switched: SwitchedRegisters,
    /// The rate of the time-stamp counter, if it is known.
    tsc_hz: Option<u64>,
    tsc: TimeStampCounter,
    debug: DebugRegisters,
    /// Primary controls of each entry, without the windows.
    primary_controls: u64,
    statistics: Statistics,
    history: History,
    /// The event that the next entry injects.
    injection: Interruption,
    timer: PreemptionTimer,
    /// The error code of the next exception that has one is not 0.
    error_code: bool,
    /// A PMI that the policy delays until this time.
    delayed_pmi: Option<u64>,
    /// The guest halts with interrupts disabled since this time, and is let in once more: a PMI may be there as NMI.
    last_look: Option<u64>,
    /// How the last entry left the guest.
    left: Left,
}

/// What the guest does after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Running,
    /// Halted.
    Halted,
    /// A debug trap was due.
    Stepping,
}

/// What the VMM knows of the guest between an exit and the next entry.
struct Processor<'a, V> {
    vcpu: &'a mut V,
    /// The registers as the exit brought them.
    exited: &'a Registers,
    /// As the VMM has changed them, if it has.
    changed: &'a mut Option<Registers>,
}

impl<L: PmuLink> Vm<L> {
    /// A virtual machine whose vPMU the policy domain behind `link` has opened.
    ///
    /// # Errors
    /// [`PmuError`] if the policy domain has no vPMU for it.
    pub fn new(link: L) -> Result<Self, PmuError> {
        let mut pmu = Pmu::new(link);
        let configuration = pmu.open()?;
        Ok(Self {
            pmu,
            configuration,
            pmu_error: None,
            apic: LocalApic::virtual_wire(),
            devices: Devices::default(),
            mtrrs: Mtrrs::default(),
            switched: SwitchedRegisters::NONE,
            tsc_hz: None,
            tsc: TimeStampCounter::default(),
            debug: DebugRegisters::default(),
            primary_controls: boot::PRIMARY,
            statistics: Statistics::default(),
            history: History::default(),
            injection: Interruption::NONE,
            timer: PreemptionTimer::new(),
            error_code: false,
            delayed_pmi: None,
            last_look: None,
            left: Left::Running,
        })
    }

    /// What the guest gets of the PMU.
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Calls to the policy domain.
    pub const fn calls(&self) -> u64 {
        self.pmu.calls()
    }

    /// What was counted, and why the guest stopped.
    pub const fn report(&self, stop: StopReason) -> Report<'_> {
        Report {
            stop,
            statistics: &self.statistics,
            history: &self.history,
            mode: self.configuration.mode,
            calls: self.pmu.calls(),
            unknown_ports: self.devices.unknown(),
            pmu_error: self.pmu_error,
        }
    }

    /// Runs the guest from its start until it stops.
    pub fn run<V: Vcpu, O: Observer>(&mut self, vcpu: &mut V, observer: &mut O, start: &Start) -> StopReason {
        boot::write_vmcs(vcpu, start.mode);
        self.switched = SwitchedRegisters::of(vcpu);
        if self.switched.rdtscp() {
            vcpu.write(Field::SecondaryControls, boot::SECONDARY | secondary::RDTSCP);
        }
        if self.switched.bundled() {
            self.primary_controls = boot::PRIMARY & !primary::MOV_DR;
            // A guest with breakpoints of its own can raise it without end while it delivers it.
            vcpu.write(Field::ExceptionBitmap, boot::EXCEPTIONS | 1 << vector::DB);
        }
        self.tsc_hz = start.tsc_hz;
        self.devices = start.tsc_hz.map_or_else(Devices::default, Devices::new);
        self.devices.set_memory(start.memory);
        self.apic.set_memory(start.memory);
        let mut entry = Entry {
            rip: start.rip,
            primary_controls: self.primary_controls,
            injection: Interruption::NONE,
            completed: false,
            registers: Some(start.registers),
        };
        let mut ending = false;
        loop {
            match vcpu.enter(&entry) {
                Return::Exit(exit) => {
                    let handled = if ending {
                        // Where the guest is, with all its registers.
                        self.statistics.exit(exit.reason);
                        self.history.push(&exit);
                        Err(StopReason::TimeLimit)
                    } else {
                        self.exit(vcpu, observer, &exit, &mut entry)
                    };
                    if let Err(stop) = handled {
                        self.history.stop(&exit);
                        return stop;
                    }
                }
                Return::Notified { rip, injection, end } => {
                    self.injection = injection;
                    let primary_controls = self.prepare(vcpu, None);
                    if end {
                        ending = true;
                        // SDM vol. 3C, 26.5.1: the guest exits before its next instruction.
                        vcpu.write(Field::PreemptionTimer, 0);
                    }
                    entry = Entry {
                        rip,
                        primary_controls,
                        injection: self.injection,
                        completed: false,
                        registers: None,
                    };
                }
            }
        }
    }

    /// Handles one exit and makes the next entry.
    ///
    /// # Errors
    /// Why there is none.
    fn exit<V: Vcpu, O: Observer>(
        &mut self,
        vcpu: &mut V,
        observer: &mut O,
        exit: &RawExit,
        entry: &mut Entry,
    ) -> Result<(), StopReason> {
        self.statistics.exit(exit.reason);
        self.history.push(exit);
        self.injection = exit.injection;
        let looked = self.last_look.take().is_some();
        if looked && exit.reason == reason::PREEMPTION_TIMER {
            return Err(StopReason::Halted);
        }
        entry.registers = None;
        let mut processor = Processor { vcpu, exited: &exit.registers, changed: &mut entry.registers };
        let outcome = self.dispatch(&mut processor, observer, exit);
        observer.exit(exit, &outcome);
        let mut state = State {
            rip: exit.rip,
            rflags: exit.rflags,
            interruptibility: exit.interruptibility,
            // A PMI may come before the entry: the guest has not run since then.
            steps: self.left == Left::Stepping
                && exit.reason == reason::PMI
                && vcpu.read(Field::GuestPendingDebug) != 0,
        };
        let mut halt = looked;
        entry.completed = match outcome {
            Outcome::Completed(length) => {
                state.advance(vcpu, length);
                true
            }
            Outcome::Halted(length) => {
                state.advance(vcpu, length);
                halt = true;
                true
            }
            Outcome::Again => false,
            Outcome::Iterated => {
                state.iterate(vcpu);
                false
            }
            Outcome::Fault(exception) => {
                self.statistics.faults += 1;
                self.injection = for_mode(vcpu, exception);
                if self.error_code && exception.vector() != vector::PF {
                    self.error_code = false;
                    vcpu.write(Field::EntryErrorCode, 0);
                }
                // SDM vol. 3B, 18.3.1.1: the RFLAGS that a fault pushes has RF set; an injection pushes it as it is (vol. 3C,
                // 27.6.1.1).
                vcpu.write(Field::GuestRflags, exit.rflags | rflags::RF);
                false
            }
            Outcome::Trap(length, exception) => {
                self.injection = exception;
                if length != 0 {
                    state.advance(vcpu, length);
                }
                false
            }
            Outcome::Stop(stop) => return Err(stop),
        };
        entry.primary_controls = self.prepare(vcpu, Some(&state));
        if halt || state.steps || self.left != Left::Running {
            self.leave(vcpu, &state, halt, outcome == Outcome::Again)?;
        }
        entry.rip = state.rip;
        entry.injection = self.injection;
        Ok(())
    }

    /// How the next entry leaves a guest that is to `halt`, or halts or steps already; nothing was done for it if it goes on
    /// `again` where it was.
    ///
    /// # Errors
    /// It halts, and nothing can wake it.
    #[cold]
    fn leave<V: Vcpu>(
        &mut self,
        vcpu: &mut V,
        state: &State,
        halt: bool,
        again: bool,
    ) -> Result<(), StopReason> {
        let halted = self.left == Left::Halted && again;
        self.left = Left::Running;
        // SDM vol. 3C, 27.6.2: an injected event makes a halted processor active.
        // And so does a pending debug exception (27.7.3).
        if state.steps {
            self.left = Left::Stepping;
        } else if !self.injection.is_valid() && (halt || halted) {
            self.left = Left::Halted;
            if !halt {
                return self.halts_on(vcpu, state);
            }
            self.can_wake(vcpu, state)?;
            vcpu.write(Field::GuestActivity, activity::HLT);
        }
        Ok(())
    }
}

/// The part of the guest's state that decides what it accepts.
struct State {
    rip: u64,
    rflags: u64,
    interruptibility: u32,
    /// A debug trap is due, before any interrupt or NMI (SDM vol. 3A, table 6-2).
    steps: bool,
}

/// An exception as this guest takes it: in real-address mode none has an error code, and an entry that is to deliver one
/// fails (SDM vol. 3C, 27.2.1.3).
fn for_mode<V: Vcpu>(vcpu: &mut V, exception: Interruption) -> Interruption {
    if exception.has_error_code() && vcpu.read(Field::GuestCr0) & cr0::PE == 0 {
        exception.without_error_code()
    } else {
        exception
    }
}

impl State {
    /// The instruction at RIP is done: the one place where RIP advances. RF ends with it (SDM vol. 3B, 18.3.1.1): exits by
    /// instructions save 0, EPT violations 1 (SDM vol. 3C, 28.3.3).
    #[inline(always)]
    fn advance<V: Vcpu>(&mut self, vcpu: &mut V, length: u64) {
        let next = self.rip.wrapping_add(length);
        let wraps = self.rip <= u64::from(u32::MAX) && next > u64::from(u32::MAX);
        // Outside 64-bit mode, EIP has 32 bits.
        self.rip = if wraps && !is_long(vcpu) { next & u64::from(u32::MAX) } else { next };
        if self.rflags & rflags::RF != 0 {
            let flags = vcpu.read(Field::GuestRflags);
            vcpu.write(Field::GuestRflags, flags & !rflags::RF);
        }
        self.step(vcpu);
    }

    /// Part of a string instruction is done: the breakpoint at it has been passed (SDM vol. 3B, 18.3.1.1), and each iteration
    /// is a step.
    fn iterate<V: Vcpu>(&mut self, vcpu: &mut V) {
        if self.rflags & rflags::RF == 0 {
            vcpu.write(Field::GuestRflags, self.rflags | rflags::RF);
        }
        self.step(vcpu);
    }

    /// Blocking by STI and MOV SS ends (SDM vol. 3A, 6.8.3), and single-stepping traps (SDM vol. 3C, 26.5.2).
    #[inline(always)]
    fn step<V: Vcpu>(&mut self, vcpu: &mut V) {
        let blocking = interruptibility::STI | interruptibility::MOV_SS;
        if self.interruptibility & blocking != 0 {
            // What MOV SS has held back comes now (SDM vol. 3C, 28.3.4).
            let held = self.interruptibility & interruptibility::MOV_SS != 0;
            self.steps = held && vcpu.read(Field::GuestPendingDebug) != 0;
            self.interruptibility &= !blocking;
            vcpu.write(Field::GuestInterruptibility, u64::from(self.interruptibility));
        }
        // With BTF, only a branch traps (SDM vol. 3B, 18.4.3), and no instruction that exits is one.
        if self.rflags & rflags::TF != 0 && vcpu.read(Field::GuestDebugctl) & DEBUGCTL_BTF == 0 {
            let pending = vcpu.read(Field::GuestPendingDebug);
            vcpu.write(Field::GuestPendingDebug, pending | PENDING_DEBUG_BS);
            self.steps = true;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
