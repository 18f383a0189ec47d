//! `spec`: the specification in tests/spec, its proofs, and what ties them to the code (docs/assurance.md).

mod conformance;
mod coq;
mod equivalence;
mod mutants;

use crate::process::Outcome;
use crate::workspace::{claim, output};

/// What `cargo xtask spec` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Also everything that is too long for each run of the tests
    #[arg(long)]
    full: bool,
    /// The proofs, and this part of --full alone
    #[arg(long, value_name = "PART", value_enum, conflicts_with = "full")]
    part: Option<Part>,
}

/// What can be asked for alone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Longer traces and sequences
    Sequences,
    /// Whole runs of guests on the simulated machine, judged by the oracle
    Exits,
    /// The compiled proofs, by Coq's separate checker
    Coqchk,
    /// pmu_core with one rule broken must be noticed
    Mutants,
    /// Machine code of the pure functions and of `Vpmu::write` against the specification's terms (in every run)
    Equivalence,
}

/// What `--full` does beyond the quick forms.
const FULL: [Part; 4] = [Part::Sequences, Part::Exits, Part::Coqchk, Part::Mutants];

/// The quick forms, one part, or all of it.
pub fn spec(arguments: &Arguments) -> Outcome {
    // Proofs, recordings and mutants are made in there.
    let _claim = claim(&output("spec")?)?;
    let proofs = coq::prove()?;
    coq::assumptions(&proofs)?;
    let oracle = coq::oracle(&proofs)?;
    let program = conformance::build()?;
    let parts = match arguments.part {
        Some(part) => vec![part],
        None => {
            conformance::quick(&program, &oracle)?;
            conformance::every_bit(&program, &oracle)?;
            equivalence::equivalence(&proofs)?;
            if arguments.full { FULL.to_vec() } else { Vec::new() }
        }
    };
    for part in parts {
        match part {
            Part::Sequences => conformance::sequences(&program, &oracle)?,
            Part::Exits => conformance::exits(&program, &oracle)?,
            Part::Coqchk => coq::check(&proofs)?,
            Part::Equivalence => equivalence::equivalence(&proofs)?,
            Part::Mutants => mutants::mutants(&oracle)?,
        }
    }
    Ok(())
}

/// The quick forms, as a step of `cargo xtask test`.
pub fn quick() -> Outcome {
    spec(&Arguments { full: false, part: None })
}
