//! The cache and the branch predictor are what their documentation says.

use pmu_model::{Llc, Lookup, Predictor};

const LINE: u64 = 64;
/// Addresses this far apart share a set: 8192 sets.
const SAME_SET: u64 = 8192 * LINE;

#[test]
fn a_miss_fills_the_line_and_its_neighbour() {
    let mut llc = Box::new(Llc::new());
    assert_eq!(llc.access(0x1000), Lookup::Miss);
    assert_eq!(llc.access(0x103F), Lookup::Hit, "the same line");
    assert_eq!(llc.access(0x1040), Lookup::Hit, "the other line of the 128-byte pair");
    assert_eq!(llc.access(0x0FC0), Lookup::Miss, "the line before belongs to another pair");
}

#[test]
fn a_set_has_eight_ways_and_drops_the_least_recently_used() {
    let mut llc = Box::new(Llc::new());
    for way in 0..8 {
        assert_eq!(llc.access(way * SAME_SET), Lookup::Miss);
    }
    assert_eq!(llc.access(0), Lookup::Hit, "eight lines fit; line 0 is now the most recent");
    assert_eq!(llc.access(8 * SAME_SET), Lookup::Miss);
    assert_eq!(llc.access(0), Lookup::Hit);
    assert_eq!(llc.access(SAME_SET), Lookup::Miss, "line 1 was the least recent");
}

#[test]
fn a_branch_is_learnt_in_two_bits() {
    let mut predictor = Predictor::new();
    let mut outcomes = |taken: &[bool]| -> Vec<bool> {
        taken.iter().map(|&taken| predictor.conditional(0x1234, taken)).collect()
    };
    // Weakly not taken, then taken until strongly so; two not-taken turn it round.
    assert_eq!(outcomes(&[true, true, true]), [true, false, false]);
    assert_eq!(outcomes(&[false, false, false]), [true, true, false]);
}

#[test]
fn branches_share_a_counter_when_their_index_is_the_same() {
    let mut predictor = Predictor::new();
    assert!(predictor.conditional(0x0000_0001, true));
    // Bits 11:0 xor bits 23:12: 0x1000 has the index 1 too.
    assert!(!predictor.conditional(0x0000_1000, true));
    assert!(predictor.conditional(0x0000_0002, true), "another counter");
}
