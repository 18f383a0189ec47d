//! An exit, with the registers that exiting instructions read, and what the VMM did about it, as a line.

use crate::exit::{RawExit, reason};
use crate::registers::Gpr;
use crate::vm::Outcome;
use core::fmt;

/// A line of a trace.
#[derive(Debug)]
pub struct Line<'a> {
    /// The exit.
    pub exit: &'a RawExit,
    /// What the VMM did.
    pub outcome: &'a Outcome,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawExit { reason, qualification, rip, registers, .. } = self.exit;
        let name = reason::name(*reason);
        write!(f, "@trace reason={name} rip={rip:#x} qualification={qualification:#x}")?;
        let [rax, rcx, rdx] = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx].map(|register| registers.get(register));
        write!(f, " rax={rax:#x} rcx={rcx:#x} rdx={rdx:#x} outcome=")?;
        match self.outcome {
            Outcome::Completed(_) => f.write_str("completed"),
            Outcome::Halted(_) => f.write_str("halted"),
            Outcome::Again | Outcome::Iterated => f.write_str("again"),
            Outcome::Fault(exception) | Outcome::Trap(_, exception) => {
                write!(f, "vector-{}", exception.vector())
            }
            Outcome::Stop(_) => f.write_str("stop"),
        }
    }
}
