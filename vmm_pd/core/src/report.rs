//! What the VMM counts, and what it says when the guest has stopped: lines that begin with `@`, a word, and
//! `key=value` pairs.

use crate::arch::Interruption;
use crate::exit::{EptViolation, RawExit, reason};
use crate::pmu::PmuError;
use core::fmt;

/// Exits that the report keeps.
const HISTORY: usize = 16;

/// Why a guest does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It wrote this code to the exit port.
    Exit(u32),
    /// It switched the machine off.
    Shutdown,
    /// It reset the machine.
    Reset,
    /// It halted with interrupts disabled.
    Halted,
    /// It halted, and no device is set up to interrupt it.
    Idle,
    /// It was still running when its time was over.
    TimeLimit,
    /// Triple fault.
    TripleFault,
    /// VM entry failed: the state is not one that a processor can be in.
    EntryFailure {
        /// VM-instruction error, if the instruction itself failed.
        error: u64,
    },
    /// It used a physical address where nothing is.
    NoMemory(EptViolation),
    /// It used a device's registers by an instruction that the VMM does not emulate.
    Mmio {
        /// The physical address.
        address: u64,
        /// The first bytes of the instruction.
        bytes: [u8; 8],
    },
    /// An interrupt or exception of the guest could not be delivered.
    Delivery(Interruption),
    /// A machine check.
    MachineCheck,
    /// An instruction form that the VMM does not emulate.
    Unsupported(&'static str),
    /// An exit whose reason the VMM does not know.
    UnknownExit(u32),
}

impl StopReason {
    /// Whether the guest ended as a guest that succeeded does.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exit(0) | Self::Shutdown)
    }
}

/// The exit status of an emulator whose isa-debug-exit port the code is written to.
const fn debug_exit_status(code: u32) -> u64 {
    (code as u64) << 1 | 1
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exit(code) => {
                write!(f, "the guest ended itself with code {code}")?;
                // What an emulator with this port ends with: a test kernel's own documentation speaks of it.
                if code == 0 {
                    Ok(())
                } else {
                    write!(f, " (isa-debug-exit status {})", debug_exit_status(code))
                }
            }
            Self::Shutdown => f.write_str("the guest switched the machine off"),
            Self::Reset => f.write_str("the guest reset the machine"),
            Self::Idle => f.write_str("the guest halted, and nothing is set up to wake it"),
            Self::Halted => f.write_str("the guest halted with interrupts disabled"),
            Self::TimeLimit => f.write_str("the guest was stopped at the time limit"),
            Self::TripleFault => f.write_str("triple fault"),
            Self::EntryFailure { error } => write!(f, "VM entry failed (VM-instruction error {error})"),
            Self::NoMemory(EptViolation { address, read, write, fetch, .. }) => {
                let what = match (fetch, write, read) {
                    (true, ..) => "instruction fetch from",
                    (_, true, _) => "write to",
                    _ => "read of",
                };
                write!(f, "{what} physical address {address:#x}, where nothing is")
            }
            Self::Mmio { address, bytes } => {
                write!(
                    f,
                    "access to the device register at {address:#x} by an unknown instruction ({bytes:02x?})"
                )
            }
            Self::Delivery(event) => write!(f, "vector {} could not be delivered", event.vector()),
            Self::MachineCheck => f.write_str("machine check"),
            Self::Unsupported(what) => write!(f, "not emulated: {what}"),
            Self::UnknownExit(number) => match reason::name(number) {
                "other" => write!(f, "unknown exit reason {number}"),
                name => write!(f, "exit reason {number}, {name}, is not emulated"),
            },
        }
    }
}

/// Performance-monitoring interrupts. `raised` is the sum of the others and of one that may still be delayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PmiCounts {
    /// PMI exits.
    pub raised: u64,
    /// Made to pend in the guest as its LVTPC says.
    pub delivered: u64,
    /// Merged with an earlier one that the guest had not yet taken.
    pub lost: u64,
    /// The guest's LVTPC was masked or cannot deliver, or the policy domain found no overflow.
    pub spurious: u64,
    /// Raised while an earlier one was held back by the policy's limit: the guest gets one PMI for both.
    pub joined: u64,
}

/// What the VMM counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    exits: [u64; reason::COUNT],
    other_exits: u64,
    /// WRMSR of PMU registers that never are direct: PERFEVTSELi, FIXED_CTR_CTRL; read-only ones, which fault.
    pub control_traps: u64,
    /// RDMSR of the same.
    pub control_reads: u64,
    /// RDMSR and WRMSR of counters and GLOBAL_*, and RDPMC, that exited.
    pub data_accesses: u64,
    /// RDMSR and WRMSR of registers that do not exist.
    pub unknown_msrs: u64,
    /// #GP(0) injected.
    pub faults: u64,
    /// PMIs.
    pub pmi: PmiCounts,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            exits: [0; reason::COUNT],
            other_exits: 0,
            control_traps: 0,
            control_reads: 0,
            data_accesses: 0,
            unknown_msrs: 0,
            faults: 0,
            pmi: PmiCounts::default(),
        }
    }
}

impl Statistics {
    /// Counts an exit.
    pub fn exit(&mut self, number: u32) {
        let place = usize::try_from(number).ok().and_then(|i| self.exits.get_mut(i));
        *place.unwrap_or(&mut self.other_exits) += 1;
    }

    /// Exits with this reason.
    pub fn exits(&self, number: u32) -> u64 {
        usize::try_from(number).ok().and_then(|i| self.exits.get(i)).copied().unwrap_or(self.other_exits)
    }

    /// All exits.
    pub fn total(&self) -> u64 {
        self.exits.iter().sum::<u64>() + self.other_exits
    }
}

/// What the report keeps of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PastExit {
    /// The exit reason.
    pub reason: u32,
    /// The guest's RIP.
    pub rip: u64,
    /// The exit qualification.
    pub qualification: u64,
}

/// The last exits, and all of the one that the guest stopped with.
#[derive(Debug, Clone, Default)]
pub struct History {
    exits: [PastExit; HISTORY],
    count: usize,
    last: Option<RawExit>,
}

impl History {
    /// Keeps an exit in place of the oldest one.
    pub fn push(&mut self, exit: &RawExit) {
        self.exits[self.count % HISTORY] =
            PastExit { reason: exit.reason, rip: exit.rip, qualification: exit.qualification };
        self.count = self.count.wrapping_add(1);
    }

    /// Keeps the exit after which the guest does not go on.
    #[cold]
    #[inline(never)]
    pub fn stop(&mut self, exit: &RawExit) {
        self.last = Some(*exit);
    }

    /// The last exits, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PastExit> {
        let kept = self.count.min(HISTORY);
        (self.count - kept..self.count).map(|i| &self.exits[i % HISTORY])
    }
}

/// The whole report.
#[derive(Debug)]
pub struct Report<'a> {
    /// Why the guest stopped.
    pub stop: StopReason,
    /// What was counted.
    pub statistics: &'a Statistics,
    /// The last exits.
    pub history: &'a History,
    /// The mode of the vPMU as the policy domain names it.
    pub mode: pmu_api::Mode,
    /// Protected procedure calls to the policy domain.
    pub calls: u64,
    /// Accesses to I/O ports that no device has.
    pub unknown_ports: u64,
    /// The first failure of the policy domain, if it failed.
    pub pmu_error: Option<PmuError>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.statistics;
        write!(f, "@exits total={}", s.total())?;
        for number in (0u32..).take(reason::COUNT) {
            let count = s.exits(number);
            match (count, reason::name(number)) {
                (0, _) => {}
                (_, "other") => write!(f, " reason-{number}={count}")?,
                (_, name) => write!(f, " {name}={count}")?,
            }
        }
        if s.other_exits != 0 {
            write!(f, " other={}", s.other_exits)?;
        }
        writeln!(f)?;
        write!(
            f,
            "@pmu mode={:?} control_traps={} control_reads={}",
            self.mode, s.control_traps, s.control_reads
        )?;
        writeln!(f, " data_accesses={} ppc={}", s.data_accesses, self.calls)?;
        let PmiCounts { raised, delivered, lost, spurious, joined } = s.pmi;
        writeln!(
            f,
            "@pmi raised={raised} delivered={delivered} lost={lost} spurious={spurious} joined={joined}"
        )?;
        writeln!(
            f,
            "@faults gp={} unknown_msrs={} unknown_ports={}",
            s.faults, s.unknown_msrs, self.unknown_ports
        )?;
        if let Some(error) = self.pmu_error {
            writeln!(f, "@pmu-error {error}")?;
        }
        if !self.stop.is_success() {
            for exit in self.history.iter() {
                let name = reason::name(exit.reason);
                writeln!(
                    f,
                    "@exit reason={name} rip={:#x} qualification={:#x}",
                    exit.rip, exit.qualification
                )?;
            }
            if let Some(last) = &self.history.last {
                writeln!(f, "@registers rip={:#x} rflags={:#x} {}", last.rip, last.rflags, last.registers)?;
            }
        }
        let code = match self.stop {
            StopReason::Exit(code) => code,
            StopReason::Shutdown => 0,
            _ => u32::MAX,
        };
        writeln!(f, "@stop code={code} {}", self.stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_keeps_the_last_sixteen_in_order() {
        let mut history = History::default();
        for rip in 0..20 {
            history.push(&RawExit { rip, ..RawExit::default() });
        }
        assert!(history.iter().map(|exit| exit.rip).eq(4..20));
    }

    #[test]
    fn every_exit_is_in_the_total() {
        let mut statistics = Statistics::default();
        for number in [1, 10, 10, 69, 70, u32::MAX] {
            statistics.exit(number);
        }
        assert_eq!((statistics.exits(10), statistics.exits(69), statistics.total()), (2, 1, 6));
    }
}
