//! Booting an image on either machine.

use super::Image;
use crate::machine::{Ended, Finished, bochs, qemu};
use crate::process::{Failure, Outcome};
use std::path::Path;

impl Image {
    /// This image in Bochs, with the PMU; `folder` holds the run's logs. Set sentinels and limits, then run.
    pub fn in_bochs(&self, folder: &Path) -> bochs::Machine {
        bochs::Machine::new(folder, &self.iso)
    }

    /// This image in QEMU, without VT-x; `folder` holds the run's logs. Set sentinels and limits, then run.
    pub fn in_qemu(&self, folder: &Path) -> qemu::Machine {
        qemu::Machine::new(folder, &self.kernel, Some(&self.module))
    }
}

/// A run that did not end by a sentinel or by the guest's own shutdown fails, with the serial log's last lines.
pub fn ran_to_end(finished: &Finished) -> Outcome {
    match finished.ended {
        Ended::Sentinel(_) | Ended::Shutdown(_) => Ok(()),
        _ => Err(Failure::Check(finished.summary())),
    }
}
