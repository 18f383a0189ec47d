//! One VM: its vPMU, its port, its statistics. Nothing here can reach another VM.

use crate::filter::Filter;
use crate::policy::VmPolicy;
use crate::port::{PmuPort, PortError};
use crate::snapshot::{self, Buffer, Collected, Collector};
use crate::statistics::VmCells;
use crate::vpmu::{SnapshotError, Trouble, Vpmu, Written};
use pmu_api::{
    Chunk, FilterReason, Malformed, Message, Mode, OverflowDecision, Refusal, Reply, Request, Statistic,
    UnavailableReason,
};

/// A VM of the policy.
#[derive(Debug)]
pub struct Vm<'a, P> {
    channel: u8,
    port: P,
    vpmu: Result<Vpmu<'a>, UnavailableReason>,
    /// The context is programmed as the vPMU says. Without it only `Open` helps.
    running: bool,
    saved: Buffer,
    restoring: Collector,
    statistics: &'a VmCells,
}

impl<'a, P: PmuPort> Vm<'a, P> {
    /// The VM of `policy`, reset.
    pub fn new(policy: &VmPolicy<'a>, mut port: P, statistics: &'a VmCells) -> Self {
        let vpmu = match port.geometry() {
            Ok(raw) => Vpmu::new(&raw, policy),
            Err(PortError(_)) => Err(UnavailableReason::Authority),
        };
        let running = false;
        let mut vm = Self {
            channel: policy.channel,
            port,
            vpmu,
            running,
            saved: Buffer::default(),
            restoring: Collector::new(),
            statistics,
        };
        // A refusal is told at Open.
        let _ = vm.reset();
        vm
    }

    /// The channel of its VMM.
    pub const fn channel(&self) -> u8 {
        self.channel
    }

    /// Its vPMU, or why it has none.
    pub const fn vpmu(&self) -> Result<&Vpmu<'a>, UnavailableReason> {
        match &self.vpmu {
            Ok(vpmu) => Ok(vpmu),
            Err(reason) => Err(*reason),
        }
    }

    /// Its port.
    pub const fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// Answers one message of its VMM.
    pub fn handle(&mut self, message: &Message, now: u64) -> Reply {
        match Request::decode(message) {
            Ok(request) => self.step(&request, now),
            Err(malformed) => {
                self.statistics.count(match malformed {
                    Malformed::Version { .. } => Statistic::MalformedVersion,
                    Malformed::Operation { .. } => Statistic::MalformedOperation,
                    Malformed::Length { .. } => Statistic::MalformedLength,
                    Malformed::Word { .. } => Statistic::MalformedWord,
                });
                Reply::Malformed(malformed)
            }
        }
    }

    /// Answers one request of its VMM.
    pub fn step(&mut self, request: &Request, now: u64) -> Reply {
        let reply = self.answer(request, now);
        if matches!(reply, Reply::Refused(_)) {
            self.statistics.count(Statistic::Refusals);
        }
        reply
    }

    fn answer(&mut self, request: &Request, now: u64) -> Reply {
        if let Request::Statistics { first } = *request {
            self.count_approved();
            let values = self.statistics.window(first);
            return values.map_or(Reply::Refused(Refusal::Statistic), |values| Reply::Statistics { values });
        }
        if *request == Request::Open {
            return self.open().unwrap_or_else(Reply::Refused);
        }
        let vpmu = match &mut self.vpmu {
            Ok(vpmu) if self.running => vpmu,
            Ok(_) => return Reply::Refused(Refusal::Unavailable(UnavailableReason::Authority)),
            Err(reason) => return Reply::Refused(Refusal::Unavailable(*reason)),
        };
        let (port, statistics) = (&mut self.port, self.statistics);
        match *request {
            Request::Read { msr } => value(vpmu.accounted_read(port, msr), statistics, Statistic::Reads),
            Request::Write { msr, value } => written(vpmu.accounted_write(port, msr, value), statistics),
            Request::Rdpmc { index, privilege } => {
                value(vpmu.accounted_rdpmc(port, index, privilege), statistics, Statistic::Rdpmcs)
            }
            Request::Overflow => {
                let decision = vpmu.overflow(now);
                statistics.count(match decision {
                    OverflowDecision::Deliver => Statistic::PmisDelivered,
                    OverflowDecision::Delay { .. } => Statistic::PmisDelayed,
                    OverflowDecision::Spurious => Statistic::PmisSpurious,
                });
                Reply::Overflow(decision)
            }
            Request::Account { completed } => match vpmu.account(port, completed) {
                Ok(due) => done(due),
                Err(error) => Reply::Refused(port_refusal(error)),
            },
            Request::Save { index } => self.save(index).unwrap_or_else(Reply::Refused),
            Request::Restore(ref chunk) => self.restore(chunk).unwrap_or_else(Reply::Refused),
            Request::ReplaceFilter { .. } => Reply::Refused(Refusal::NotManager),
            Request::Open | Request::Statistics { .. } => Reply::Refused(Refusal::NotVmm),
        }
    }

    /// Takes over the kernel's counts. If it does not tell, they stay as they are.
    fn count_approved(&mut self) {
        let Ok(vpmu) = &mut self.vpmu else { return };
        if let Ok(Some(known)) = vpmu.refresh(&mut self.port, false) {
            self.statistics.set(Statistic::ApprovedWrites, known.approved_writes);
            self.statistics.set(Statistic::ApprovedReads, known.approved_reads);
        }
    }

    fn open(&mut self) -> Result<Reply, Refusal> {
        self.reset()?;
        self.statistics.count(Statistic::Opens);
        let vpmu = self.vpmu.as_ref().map_err(|reason| Refusal::Unavailable(*reason))?;
        Ok(Reply::Opened(vpmu.configuration()))
    }

    fn reset(&mut self) -> Result<(), Refusal> {
        let vpmu = self.vpmu.as_mut().map_err(|reason| Refusal::Unavailable(*reason))?;
        self.running = false;
        vpmu.reset(&mut self.port).map_err(port_refusal)?;
        self.running = true;
        Ok(())
    }

    fn save(&mut self, index: u64) -> Result<Reply, Refusal> {
        let vpmu = self.vpmu.as_mut().map_err(|reason| Refusal::Unavailable(*reason))?;
        if index == 0 {
            self.saved = vpmu.save(&mut self.port).map_err(snapshot_refusal)?;
            self.statistics.count(Statistic::Saves);
        } else if self.saved == Buffer::default() {
            return Err(Refusal::Chunk);
        }
        snapshot::chunk(&self.saved, index).map(Reply::Saved).ok_or(Refusal::Chunk)
    }

    fn restore(&mut self, chunk: &Chunk) -> Result<Reply, Refusal> {
        let vpmu = self.vpmu.as_mut().map_err(|reason| Refusal::Unavailable(*reason))?;
        match self.restoring.take(chunk).map_err(Refusal::Snapshot)?.ok_or(Refusal::Chunk)? {
            Collected::Awaiting(next) => Ok(Reply::Restoring { next }),
            Collected::Complete => {
                let result = vpmu.restore(&mut self.port, self.restoring.buffer());
                self.running &= !matches!(result, Err(SnapshotError::Port(_)));
                result.map_err(snapshot_refusal)?;
                self.statistics.count(Statistic::Restores);
                Ok(Reply::Restored)
            }
        }
    }

    /// Puts `filter` in force at once.
    ///
    /// # Errors
    /// [`FilterReason`]; the old filter stays, unless the hardware refused: then nothing counts.
    pub fn replace_filter(&mut self, filter: Filter<'a>) -> Result<(), FilterReason> {
        let vpmu = self.vpmu.as_mut().map_err(|_| FilterReason::Mode)?;
        if !matches!(vpmu.mode(), Mode::Mediated | Mode::Emulated) || !vpmu.has_counters() {
            return Err(FilterReason::Mode);
        }
        if vpmu.replace_filter(&mut self.port, filter).is_err() {
            self.running = false;
            return Err(FilterReason::Hardware);
        }
        self.statistics.count(Statistic::FiltersReplaced);
        Ok(())
    }
}

fn value(result: Result<(u64, bool), Trouble>, statistics: &VmCells, statistic: Statistic) -> Reply {
    match result {
        Ok((value, due)) => {
            statistics.count(statistic);
            if due { Reply::ValueWithPmi { value } } else { Reply::Value { value } }
        }
        Err(trouble) => troubled(trouble, statistics),
    }
}

const fn done(due: bool) -> Reply {
    if due { Reply::DoneWithPmi } else { Reply::Done }
}

fn written(result: Result<(Written, bool), Trouble>, statistics: &VmCells) -> Reply {
    match result {
        Ok((written, due)) => {
            statistics.count(match written {
                Written::Control { .. } => Statistic::ControlWrites,
                Written::Data => Statistic::DataWrites,
            });
            if written == (Written::Control { denied: true }) {
                statistics.count(Statistic::Denied);
            }
            done(due)
        }
        Err(trouble) => troubled(trouble, statistics),
    }
}

fn troubled(trouble: Trouble, statistics: &VmCells) -> Reply {
    match trouble {
        Trouble::Fault => {
            statistics.count(Statistic::Faults);
            Reply::Fault
        }
        Trouble::Port(error) => Reply::Refused(port_refusal(error)),
    }
}

fn port_refusal(error: PortError) -> Refusal {
    Refusal::Port { error: error.0 }
}

fn snapshot_refusal(error: SnapshotError) -> Refusal {
    match error {
        SnapshotError::Reason(reason) => Refusal::Snapshot(reason),
        SnapshotError::Port(error) => port_refusal(error),
    }
}
