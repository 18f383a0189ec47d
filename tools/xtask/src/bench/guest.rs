//! The benchmark's guests: built, and told their parameters.

use crate::image::freestanding::Build;
use crate::process::{Failure, Outcome};
use crate::run::GUEST_BASE;
use std::fs;
use std::path::Path;

/// TSC cycles in a second of the guest's time, from which the rates of samples and ticks follow. Sampling costs what it
/// costs for each sample, so that its share of the time depends on this; 2 GHz is a server's base frequency.
pub const FREQUENCY: u64 = 2_000_000_000;

/// What the guest does while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Nothing else.
    None,
    /// perf with six events, each sampled a thousand times a second.
    Basic,
    /// perf with ten such events that share eight counters.
    Multiplex,
}

impl Workload {
    /// Those that are compared.
    pub const SAMPLED: [Workload; 2] = [Workload::Basic, Workload::Multiplex];

    pub const fn name(self) -> &'static str {
        match self {
            Workload::None => "none",
            Workload::Basic => "basic",
            Workload::Multiplex => "multiplex",
        }
    }

    /// The guest's number for it (guest/src/bin/bench.rs).
    const fn scheme(self) -> u64 {
        match self {
            Workload::None => 0,
            Workload::Basic => 1,
            Workload::Multiplex => 2,
        }
    }
}

/// Before the parameters in the guest's file (guest/src/parameters.rs).
const MARK: &[u8; 16] = b"bench-parameters";

/// Builds a guest of this project and writes its file to `to`.
///
/// # Errors
/// The build fails, or the file cannot be written.
pub fn build(name: &str, to: &Path) -> Outcome {
    let build = Build { name: "guest", image_base: GUEST_BASE, flags: Vec::new() };
    let file = build.programs(&[name])?.swap_remove(0);
    let copy = fs::read(&file).and_then(|bytes| fs::write(to, bytes));
    copy.map_err(|e| Failure::Environment(format!("{} cannot be written: {e}", to.display())))
}

/// Writes to `to` the guest's file `from` with these parameters.
///
/// # Errors
/// The guest has no place for them, or a file cannot be read or written.
pub fn configure(from: &Path, workload: Workload, iterations: u64, to: &Path) -> Outcome {
    let failed = |e| Failure::Environment(format!("{} cannot be written: {e}", to.display()));
    let mut bytes = fs::read(from).map_err(failed)?;
    patch(&mut bytes, &[workload.scheme(), iterations, FREQUENCY])
        .map_err(|why| Failure::Check(format!("{}: {why}", from.display())))?;
    fs::write(to, bytes).map_err(failed)
}

/// Puts the values after the one mark.
fn patch(bytes: &mut [u8], values: &[u64]) -> Result<(), String> {
    let length = 8 * values.len();
    let mut places = (0..bytes.len()).filter(|&i| bytes[i..].starts_with(MARK)).map(|i| i + MARK.len());
    match (places.next(), places.next()) {
        (Some(at), None) if bytes.len() - at >= length => {
            let words = values.iter().flat_map(|value| value.to_le_bytes());
            bytes[at..at + length].iter_mut().zip(words).for_each(|(to, from)| *to = from);
            Ok(())
        }
        (None, _) => Err("the guest has no place for parameters".to_owned()),
        (Some(_), None) => Err("the guest's file ends within its parameters".to_owned()),
        (Some(_), Some(_)) => Err("the guest has two places for parameters".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{MARK, patch};

    #[test]
    fn the_values_follow_the_mark() {
        let mut bytes = [b"before".as_slice(), MARK, &[0xff; 20]].concat();
        patch(&mut bytes, &[1, 0x0203]).expect("there is a place");
        assert_eq!(bytes[22..38], [1, 0, 0, 0, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[38..], [0xff; 4]);
    }

    #[test]
    fn a_file_without_a_place_with_two_or_with_half_of_one_is_refused() {
        let twice = [MARK.as_slice(), &[0; 8], MARK.as_slice(), &[0; 8]].concat();
        let half = [MARK.as_slice(), &[0; 7]].concat();
        for (mut bytes, why) in [(vec![0; 64], "no place"), (twice, "two places"), (half, "ends within")] {
            assert!(patch(&mut bytes, &[1]).unwrap_err().contains(why));
        }
    }
}
