//! Counts until its policy domain dies, and then must find no PMU: every access faults, reads of counters that were
//! direct among them, so that nothing counts any more. For tests/system/pmu_crash; with a policy domain that lives,
//! this guest fails.
#![no_std]
#![no_main]

use guest::cpu::{rdpmc, try_rdmsr, try_rdpmc, try_wrmsr, wrmsr};
use guest::pmu::{
    EVENTS, FIXED_CTR_CTRL, FIXED_CTR0, GLOBAL_CTRL, GLOBAL_STATUS, GLOBAL_STATUS_RESET, Geometry,
    INSTRUCTIONS, PERFEVTSEL0, PMC0, SELECT_ALL_RINGS, clear,
};
use guest::{interrupts, println};

guest::guest!(main);

fn main() -> bool {
    interrupts::install();
    let geometry = Geometry::read();
    clear(&geometry);
    let approved = EVENTS[INSTRUCTIONS].code | SELECT_ALL_RINGS;
    wrmsr(PERFEVTSEL0, approved);
    wrmsr(GLOBAL_CTRL, geometry.all());
    let counted = rdpmc(0) < rdpmc(0);
    let died = try_wrmsr(PERFEVTSEL0 + geometry.general - 1, 0).is_err();
    let registers =
        [PERFEVTSEL0, PMC0, FIXED_CTR0, FIXED_CTR_CTRL, GLOBAL_STATUS, GLOBAL_CTRL, GLOBAL_STATUS_RESET];
    let faults = registers.iter().filter(|register| try_rdmsr(**register).is_err()).count()
        + registers.iter().filter(|register| try_wrmsr(**register, 0).is_err()).count()
        + usize::from(try_wrmsr(PERFEVTSEL0, approved).is_err())
        + usize::from(try_rdpmc(0).is_err());
    let right = usize::from(counted) + usize::from(died) + faults;
    let checks = 2 * registers.len() + 4;
    println!("@result right={right} wrong={}", checks - right);
    right == checks
}
