//! Systems and operations chosen for their boundaries.

use crate::filter::EventFilter;
use crate::registers::{FIXED, GENERAL, Geometry, Op, Registers};
use crate::system::{System, VmConfig};
use pmu_api::Mode;
use pmu_core::pmi::PmiLimit;
use std::rc::Rc;

/// Filters: everything; three architectural events and fixed counter 0; a deny list with fixed counter 1; masked
/// entries with an exclusion; nothing.
pub fn filters() -> Rc<[EventFilter]> {
    let masked = |event: u64, matches: u64, mask: u64, exclude: bool| {
        event | matches << 8 | u64::from(exclude) << 55 | mask << 56
    };
    [
        EventFilter::everything(),
        EventFilter { deny: false, masked: false, entries: vec![0x3C, 0xC0, 0x412E], fixed: 0b0001 },
        EventFilter { deny: true, masked: false, entries: vec![0xC0, 0x4F2E], fixed: 0b0010 },
        EventFilter {
            deny: false,
            masked: true,
            entries: vec![
                masked(0x2E, 0x40, 0xF0, false),
                masked(0x2E, 0x4F, 0xFF, true),
                masked(0x3C, 0, 0, false),
            ],
            fixed: 0b1110,
        },
        EventFilter { deny: false, masked: false, entries: Vec::new(), fixed: 0 },
    ]
    .into()
}

/// Hardware with this PMU version and these counters (at most 7 fixed ones), 48 bits wide, with full-width writes.
pub const fn hardware(version: u8, general: usize, fixed: u32) -> Geometry {
    Geometry {
        version,
        general,
        width: 48,
        fixed: !(u8::MAX << fixed),
        fixed_width: 48,
        tsx: false,
        p6: true,
        capabilities: 1 << 13,
    }
}

const fn vm(mode: Mode, version: u8, general: u8, fixed: u8, tsx: bool, filter: usize) -> VmConfig {
    VmConfig { mode, version, general, fixed: Some(fixed), tsx, filter, pmi_limit: None }
}

/// Systems that together have every version, guests with all and with a part of the hardware's counters, every mode
/// odd widths, hardware without full-width writes, and one whose fixed counters have a gap.
pub fn systems() -> Vec<(&'static str, System)> {
    use Mode::{Emulated, Mediated, Off, Passthrough};
    let narrow = Geometry { width: 32, fixed_width: 40, capabilities: 0, ..hardware(4, 4, 3) };
    let wide = Geometry { width: 64, fixed_width: 64, ..hardware(5, 2, 1) };
    let gap = Geometry { fixed: 0b1101, ..hardware(5, 4, 0) };
    let whole = |config: VmConfig| VmConfig { fixed: None, ..config };
    let limited = |config, count, cycles| VmConfig { pmi_limit: Some(PmiLimit { count, cycles }), ..config };
    let system = |hardware, vms: &[VmConfig]| System { hardware, vms: vms.to_vec(), filters: filters() };
    vec![
        (
            "icelake, two equal guests",
            system(
                hardware(5, 8, 4),
                &[limited(vm(Mediated, 5, 8, 4, false, 0), 2, 100), vm(Mediated, 5, 8, 4, true, 1)],
            ),
        ),
        (
            "skylake, a smaller guest, an emulated one, one switched off",
            system(
                hardware(4, 4, 3),
                &[
                    vm(Mediated, 2, 2, 2, false, 2),
                    vm(Emulated, 4, 4, 3, true, 3),
                    vm(Off, 4, 4, 3, false, 0),
                ],
            ),
        ),
        (
            "versions 0, 1 and 3",
            system(
                hardware(4, 4, 3),
                &[
                    vm(Mediated, 0, 1, 0, false, 0),
                    vm(Mediated, 1, 4, 0, false, 1),
                    vm(Mediated, 3, 4, 3, false, 0),
                ],
            ),
        ),
        (
            "no fixed counters: all that the hardware has, in versions without and with global registers",
            system(hardware(4, 4, 0), &[vm(Mediated, 1, 4, 0, false, 1), vm(Mediated, 2, 4, 0, false, 3)]),
        ),
        ("narrow counters, no full-width writes", system(narrow, &[vm(Mediated, 4, 4, 3, true, 0)])),
        (
            "64-bit counters",
            system(wide, &[vm(Mediated, 5, 2, 1, false, 0), vm(Mediated, 2, 1, 1, false, 3)]),
        ),
        (
            "a gap in the fixed counters",
            system(
                gap,
                &[
                    whole(vm(Mediated, 5, 4, 0, false, 0)),
                    whole(vm(Mediated, 4, 4, 0, false, 2)),
                    limited(whole(vm(Emulated, 5, 2, 0, true, 3)), 1, 60),
                ],
            ),
        ),
        (
            "passthrough beside a mediated guest",
            system(
                hardware(5, 8, 4),
                &[
                    limited(vm(Passthrough, 5, 8, 4, false, 1), 3, 200),
                    limited(vm(Mediated, 5, 8, 4, false, 1), 1, 1),
                ],
            ),
        ),
    ]
}

const ENABLED: u64 = 1 << 22 | 1 << 17 | 1 << 16;
const INT: u64 = 1 << 20;

/// At least 24 operations of one VM, each beside a boundary: indices at and past the ends, every reserved bit's
/// neighbour, values that wrap.
pub fn operations() -> Vec<Op> {
    let count = |first: u64, fixed: u64| Op::Count([first, 1, 0, 0, 0, 0, 0, first], [fixed, 0, 0, 1]);
    vec![
        Op::Open,
        Op::Filter(1),
        Op::Filter(3),
        count(1, u64::MAX),
        Op::Read(0x392),
        Op::Rdpmc(0x4000_0003, 0, true, false),
        Op::Rdpmc(7, 3, true, false),
        Op::Write(0x186, ENABLED | INT | 0x3C),
        Op::Write(0x186, ENABLED | 0x412E),
        Op::Write(0x186, ENABLED | 1 << 21 | 0xC0),
        Op::Write(0x188, 1 << 32 | 1 << 33 | 0xC0),
        Op::Write(0x18D, ENABLED | 1 << 19 | 0xFF00_0000 | 0x01B7),
        Op::Write(0xC1, 0x8000_0000),
        Op::Write(0xC8, 0xFFFF_FFFF_7FFF_FFFF),
        Op::Write(0x4C1, 0xFFFF_FFFF_FFFF),
        Op::Write(0x309, u64::MAX),
        Op::Write(0x38D, 0xB00B),
        Op::Write(0x38D, 0x0090),
        Op::Write(0x38D, 0x0004),
        Op::Write(0x38F, 0xF_0000_00FF),
        Op::Write(0x38F, 0x1_0000_0001),
        Op::Write(0x38F, 0x10_0000_0000),
        Op::Write(0x390, 1 | 1 << 32 | 1 << 63),
        Op::Write(0x391, 1 << 63 | 0x80),
        // Up to here in each run of the tests; the rest at a smaller depth.
        Op::Write(0x390, 1 << 62),
        Op::Write(0x390, 1 << 55),
        Op::Write(0x18E, ENABLED | 0xC0),
        Op::Write(0x4C1, 1 << 48),
        Op::Write(0x30C, 5),
        Op::Write(0x30D, 0),
        Op::Write(0x38E, 0),
        Op::Write(0x392, 0),
        Op::Write(0x345, 0),
    ]
}

/// Operations around approved pairs: accesses that the kernel may carry out, and what must stop it from that.
pub fn approvals() -> Vec<Op> {
    let registers = Registers { selectors: [ENABLED | 0x3C, 0, 0, 0, 0, 0, 0, 0], ..Registers::default() };
    vec![
        Op::GuestWrite(0x186, ENABLED | INT | 0xC0),
        Op::GuestWrite(0x186, ENABLED | 0x3C),
        Op::GuestWrite(0x186, 0),
        Op::GuestRead(0x186),
        Op::GuestWrite(0x187, ENABLED | INT | 0xC0),
        Op::GuestWrite(0x38D, 0xB),
        Op::GuestWrite(0x38D, 0),
        Op::GuestWrite(0x38F, 1 << 32 | 3),
        Op::Count([u64::MAX >> 16; GENERAL], [u64::MAX >> 16; FIXED]),
        Op::GuestWrite(0x186, ENABLED | 1 << 21 | 0xC0),
        Op::Filter(1),
        Op::Filter(4),
        Op::Read(0x38D),
        Op::Read(0x392),
        Op::Save,
        Op::Restore(registers),
        Op::Open,
    ]
}

/// Questions what to do with a PMI, around the ends of the windows of a limit of 2 in 100 cycles, and what leaves them alone.
pub fn limits() -> Vec<Op> {
    let times = [1000, 1099, 1100, 1150, 1200, 1450, u64::MAX - 30, 20];
    times.map(Op::Overflow).into_iter().chain([Op::Open]).collect()
}

/// Every form of a control register that decides whether a completed instruction counts, and every completion under it, on the
/// first counter of either kind (SDM 20.2.1.1: event, rings, EDGE, INV, counter mask).
pub fn completions() -> Vec<Op> {
    let mut operations = vec![Op::Open, Op::Write(0x38F, 1 << 32 | 1)];
    for form in 0..96_u64 {
        let (ring, edge, invert) = (form & 3, form >> 2 & 1, form >> 3 & 1);
        let (key, counter_mask) = ([0xC0, 0xC4][usize::from(form & 16 != 0)], form >> 5);
        let flags = ring << 16 | edge << 18 | 1 << 22 | invert << 23 | counter_mask << 24;
        operations.extend([Op::Write(0x186, key | flags), Op::Write(0x38D, ring)]);
        for completed in 0..4_u8 {
            operations.push(Op::Complete(completed & 1 != 0, completed & 2 != 0));
        }
        operations.extend([Op::Rdpmc(0, 3, true, true), Op::Rdpmc(0, 0, true, false)]);
        operations.extend([Op::Read(0xC1), Op::Read(0x309)]);
    }
    // The completed write makes the counter overflow, and that is one PMI; the next completion raises none.
    let counting = 1 << 22 | INT | 1 << 17 | 0xC0;
    operations.extend([Op::Write(0x390, 1), Op::Write(0x186, counting), Op::Write(0xC1, u64::MAX)]);
    operations.extend([Op::Read(0x38E), Op::Complete(false, false), Op::Write(0x186, 0)]);
    operations.extend([Op::Write(0x390, 1 << 32), Op::Write(0x38D, 0b1001), Op::Write(0x309, u64::MAX)]);
    operations.extend([Op::Read(0x38E), Op::Complete(false, false), Op::Write(0x38D, 0)]);
    // The next overflow is one of hardware's, and a PMI again: the status that would hide it is cleared, by who can.
    operations.extend([Op::Write(0x186, counting), Op::Write(0xC1, u64::MAX), Op::Write(0x390, 1)]);
    operations.extend([Op::Count([1 << 48; GENERAL], [0; FIXED]), Op::Write(0x186, 0)]);
    // No PMI of a counter that is not to interrupt.
    operations.extend([Op::Write(0x390, 1 << 32 | 1), Op::Write(0x186, counting & !INT)]);
    operations.extend([Op::Write(0xC1, u64::MAX), Op::Read(0x38E), Op::Write(0x186, 0)]);
    // After a reset nothing of what counted before goes on.
    operations.extend([
        Op::Write(0x186, counting),
        Op::Write(0x38D, 3),
        Op::Open,
        Op::Write(0x38F, 1 << 32 | 1),
    ]);
    operations.extend([Op::Count([5; GENERAL], [5; FIXED]), Op::Read(0xC1), Op::Read(0x309)]);
    operations
}

/// Each bit alone of a counter of either kind, of IA32_FIXED_CTR_CTRL and the global registers, and of the first three
/// selectors: which may be set depends on the counter (SDM figures 20-1, 20-6; IN_TXCP on counter 2 alone). In passthrough
/// writes of control registers do not exit; there it is one, and IA32_PERF_GLOBAL_INUSE, which does.
pub fn single_bits(mode: Mode) -> Vec<Op> {
    if mode == Mode::Passthrough {
        return vec![Op::DirectWrite(0x186, ENABLED | 0xC0), Op::Read(0x392)];
    }
    let registers = [0xC1, 0x4C1, 0x309, 0x38D, 0x38F, 0x390, 0x391, 0x186, 0x187, 0x188];
    registers.into_iter().flat_map(|msr| (0..64).map(move |bit| Op::Write(msr, 1 << bit))).collect()
}

/// MSR numbers whose reads together show every register of a vPMU, and their neighbours that do not exist.
pub fn readable() -> impl Iterator<Item = u32> {
    (0xC0..=0xC9)
        .chain(0x185..=0x18E)
        .chain(0x308..=0x30D)
        .chain([0x345])
        .chain(0x38C..=0x393)
        .chain(0x4C0..=0x4C9)
}
