//! `spec`: the specification in tests/spec, its proofs, and what ties them to the code (docs/assurance.md).

mod conformance;
mod coq;
mod equivalence;
mod mutants;

use crate::process::Outcome;

/// What `cargo xtask spec` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Also coqchk, machine-code equivalence, mutants of pmu_core, and longer sequences
    #[arg(long)]
    full: bool,
}

/// The quick forms, or all of it.
pub fn spec(arguments: &Arguments) -> Outcome {
    let proofs = coq::prove()?;
    coq::assumptions(&proofs)?;
    let oracle = coq::oracle(&proofs)?;
    let program = conformance::build()?;
    conformance::quick(&program, &oracle)?;
    if arguments.full {
        conformance::full(&program, &oracle)?;
        coq::check(&proofs)?;
        equivalence::equivalence(&proofs)?;
        mutants::mutants(&oracle)?;
    }
    Ok(())
}

/// The quick forms, as a step of `cargo xtask test`.
pub fn quick() -> Outcome {
    spec(&Arguments { full: false })
}
