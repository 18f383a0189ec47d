//! `spec`: the specification in tests/spec, its proofs, and what ties them to the code (docs/assurance.md).

mod conformance;
mod coq;
mod equivalence;
mod mutants;

use crate::process::Outcome;

/// What `cargo xtask spec` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Also everything that is too long for each run of the tests
    #[arg(long)]
    full: bool,
    /// The proofs, and this part of --full alone
    #[arg(long, value_name = "PART", value_enum)]
    part: Option<Part>,
}

/// What `--full` does beyond the quick forms.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Longer traces and sequences
    Sequences,
    /// A run on the simulated machine, judged by the oracle
    Exits,
    /// The compiled proofs, by Coq's separate checker
    Coqchk,
    /// Machine code of the pure functions against the specification's terms
    Equivalence,
    /// pmu_core with one rule broken must be noticed
    Mutants,
}

const PARTS: [Part; 5] = [Part::Sequences, Part::Exits, Part::Coqchk, Part::Equivalence, Part::Mutants];

/// The quick forms, one part, or all of it.
pub fn spec(arguments: &Arguments) -> Outcome {
    let proofs = coq::prove()?;
    coq::assumptions(&proofs)?;
    let oracle = coq::oracle(&proofs)?;
    let program = conformance::build()?;
    if arguments.part.is_none() {
        conformance::quick(&program, &oracle)?;
    }
    for part in PARTS {
        if arguments.full && arguments.part.is_none() || arguments.part == Some(part) {
            match part {
                Part::Sequences => conformance::sequences(&program, &oracle)?,
                Part::Exits => conformance::exits(&program, &oracle)?,
                Part::Coqchk => coq::check(&proofs)?,
                Part::Equivalence => equivalence::equivalence(&proofs)?,
                Part::Mutants => mutants::mutants(&oracle)?,
            }
        }
    }
    Ok(())
}

/// The quick forms, as a step of `cargo xtask test`.
pub fn quick() -> Outcome {
    spec(&Arguments { full: false, part: None })
}
