//! The policy domain on the modelled hardware: what counts, and what stands still.
#![allow(clippy::unwrap_used)]

use pmu_api::{OverflowDecision, Privilege, Reply, Request};
use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry, RegionCells};
use pmu_model::{Cpuid0A, Events, Geometry, PerfCapabilities, Pmu, Ring};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// A VCPU whose context is the modelled hardware itself; the model refuses what hardware refuses.
#[derive(Clone, Debug)]
struct Modelled(Rc<RefCell<Pmu>>);

const STATUS: u32 = 0x38E;
const LEAF: [u32; 4] = [5 | 8 << 8 | 48 << 16 | 8 << 24, 0, 0xF, 4 | 48 << 5 | 1 << 15];

/// seL4_InvalidArgument.
const REFUSED: PortError = PortError(1);

impl PmuPort for Modelled {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        Ok(RawGeometry {
            leaf_a: LEAF,
            perf_capabilities: 1 << 13,
            flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE,
        })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.0.borrow().rdmsr(msr).map_err(|_| REFUSED)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let mut pmu = self.0.borrow_mut();
        if msr == STATUS {
            // The status itself is read-only: reset the others, set these (SDM 20.2.4.2).
            let others = pmu.rdmsr(STATUS).map_err(|_| REFUSED)? & !value;
            pmu.wrmsr(0x390, others).map_err(|_| REFUSED)?;
            return pmu.wrmsr(0x391, value).map_err(|_| REFUSED);
        }
        pmu.wrmsr(msr, value).map_err(|_| REFUSED)
    }
}

struct Machine {
    pmu: Rc<RefCell<Pmu>>,
    domain: Domain<'static, Modelled>,
}

fn region(policy: &str) -> &'static [AtomicU64] {
    let words = pmu_policy::compile(policy).unwrap().words;
    words.into_iter().map(AtomicU64::new).collect::<Vec<_>>().leak()
}

fn policy(filter: &str) -> String {
    format!("manager_channel = 9\n[[vm]]\nname = \"a\"\nchannel = 1\n{filter}")
}

impl Machine {
    fn new(filter: &str, update: &str) -> Self {
        let [eax, ebx, ecx, edx] = LEAF;
        let geometry = Geometry::from_cpuid(Cpuid0A { eax, ebx, ecx, edx }).unwrap();
        let pmu = Pmu::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE)));
        let pmu = Rc::new(RefCell::new(pmu));
        let port = Modelled(Rc::clone(&pmu));
        let statistics = Box::leak(Box::new(RegionCells::new()));
        let (now, later) = (region(&policy(filter)), region(&policy(update)));
        let domain = Domain::new(now, later, statistics, |_| port.clone());
        let mut machine = Self { pmu, domain };
        assert!(matches!(machine.ask(1, Request::Open), Reply::Opened(_)));
        machine
    }

    fn ask(&mut self, channel: u8, request: Request) -> Reply {
        Reply::decode(&self.domain.handle(channel, &request.encode(), 0)).unwrap()
    }

    fn write(&mut self, msr: u32, value: u64) {
        assert_eq!(self.ask(1, Request::Write { msr, value }), Reply::Done, "{msr:#x} = {value:#x}");
    }

    fn read(&mut self, msr: u32) -> u64 {
        match self.ask(1, Request::Read { msr }) {
            Reply::Value { value } => value,
            other => panic!("{msr:#x}: {other:?}"),
        }
    }

    /// The guest runs: `n` instructions in `ring`, every third of them a branch.
    fn run(&mut self, ring: Ring, n: u64) {
        for i in 0..n {
            let branches = u64::from(i % 3 == 0);
            // Status bits say the same as the PMI request.
            let _ = self.pmu.borrow_mut().advance(ring, &Events { branches, ..Events::instruction() });
        }
    }
}

const ALL: &str = "[vm.filter]\naction = \"deny\"\nevents = []\n";
const NO_BRANCHES: &str = "[vm.filter]\naction = \"deny\"\nevents = [\"branches\"]\nfixed = [1]\n";
const INSTRUCTIONS: u64 = 0xC0;
const BRANCHES: u64 = 0xC4;
const OS: u64 = 0x42_0000;
const USR: u64 = 0x41_0000;
const BOTH: u64 = 0x43_0000;
const INT: u64 = 0x10_0000;
const EVERY_COUNTER: u64 = 0xF_0000_00FF;

#[test]
fn permitted_events_count_exactly_by_ring() {
    let mut machine = Machine::new(ALL, ALL);
    for (i, selector) in [OS | INSTRUCTIONS, USR | INSTRUCTIONS, BOTH | BRANCHES, 0x03_0000 | INSTRUCTIONS]
        .into_iter()
        .enumerate()
    {
        machine.write(0x186 + u32::try_from(i).unwrap(), selector);
    }
    machine.write(0x38D, 0x3B1);
    machine.write(0x38F, EVERY_COUNTER);
    machine.run(Ring::Kernel, 300);
    machine.run(Ring::User, 30);
    machine.write(0x38F, 0);
    machine.run(Ring::User, 1000);
    assert_eq!([0, 1, 2, 3].map(|i| machine.read(0x4C1 + i)), [300, 30, 110, 0]);
    assert_eq!([0, 1, 2].map(|i| machine.read(0x309 + i)), [300, 330, 330]);
    let privilege = Privilege::new(3, true, true);
    assert_eq!(machine.ask(1, Request::Rdpmc { index: 2, privilege }), Reply::Value { value: 110 });
}

/// KVM's selftest: a denied event keeps its counter still, and the value written stays.
#[test]
fn denied_counters_stand_still() {
    let mut machine = Machine::new(NO_BRANCHES, ALL);
    machine.write(0x186, BOTH | BRANCHES);
    machine.write(0x187, BOTH | INSTRUCTIONS);
    machine.write(0x4C1, 0xDEAD);
    machine.write(0x38D, 0x333);
    machine.write(0x38F, EVERY_COUNTER);
    machine.run(Ring::User, 99);
    // KVM's hole: rewriting another field must not wake fixed counter 1.
    machine.write(0x38D, 0x3B3);
    machine.run(Ring::User, 1);
    assert_eq!([0x4C1, 0x4C2, 0x309, 0x30A, 0x30B].map(|msr| machine.read(msr)), [0xDEAD, 100, 100, 0, 100]);
    assert_eq!(machine.read(0x38D), 0x3B3);
}

#[test]
fn a_filter_change_takes_effect_while_counting() {
    let mut machine = Machine::new(ALL, NO_BRANCHES);
    machine.write(0x186, BOTH | BRANCHES);
    machine.write(0x38D, 0x30);
    machine.write(0x38F, EVERY_COUNTER);
    machine.run(Ring::User, 30);
    assert_eq!(machine.ask(9, Request::ReplaceFilter { vm: 0 }), Reply::Replaced);
    machine.run(Ring::User, 3000);
    assert_eq!((machine.read(0x4C1), machine.read(0x30A)), (10, 30));
}

/// SDM 20.2.2: a counter preset to 1 - count wraps, sets its status bit, which the reset register clears.
#[test]
fn an_overflow_is_seen_and_cleared() {
    let mut machine = Machine::new(ALL, ALL);
    machine.write(0x186, BOTH | INT | INSTRUCTIONS);
    machine.write(0x4C1, (1 << 48) - 50);
    machine.write(0x38F, EVERY_COUNTER);
    machine.run(Ring::User, 49);
    assert_eq!(machine.read(STATUS), 0);
    machine.run(Ring::User, 2);
    assert_eq!((machine.read(STATUS), machine.read(0xC1)), (1, 1));
    assert_eq!(machine.ask(1, Request::Overflow), Reply::Overflow(OverflowDecision::Deliver));
    machine.write(0x390, 1);
    assert_eq!(machine.read(STATUS), 0);
}

/// A snapshot taken in the middle goes on where it was.
#[test]
fn counting_goes_on_after_a_restore() {
    let mut machine = Machine::new(ALL, ALL);
    machine.write(0x186, BOTH | INSTRUCTIONS);
    machine.write(0x38F, 1);
    machine.run(Ring::User, 10);
    let chunks = [0, 1, 2, 3].map(|index| match machine.ask(1, Request::Save { index }) {
        Reply::Saved(chunk) => chunk,
        other => panic!("{other:?}"),
    });
    let mut other = Machine::new(ALL, ALL);
    let replies = chunks.map(|chunk| other.ask(1, Request::Restore(chunk)));
    assert_eq!(replies[3], Reply::Restored);
    other.run(Ring::User, 5);
    assert_eq!((other.read(0x4C1), machine.read(0x4C1)), (15, 10));
}

/// A guest with direct access may reach a data register either way: each bit is taken by both or by neither, and leaves the
/// same. The differences are those of docs/assurance.md ("Assumed"): the hardware's bits of freezing and of the uncore, which
/// no vPMU has, and those above a fixed counter's width, which a trapped write cuts.
#[test]
fn each_bit_is_the_same_trapped_and_direct() {
    const STATUS_SET: u32 = 0x391;
    const EVERY_COUNTER: u64 = 0xF_0000_00FF;
    let (mut trapped, direct) = (Machine::new(ALL, ALL), Machine::new(ALL, ALL));
    let mut different = Vec::new();
    for msr in (0xC1..=0xC8).chain(0x309..=0x30C).chain(STATUS..=0x390).chain(0x4C1..=0x4C8) {
        for bit in 0..64 {
            let value = 1 << bit;
            let mut pmu = direct.pmu.borrow_mut();
            trapped.write(STATUS_SET, EVERY_COUNTER);
            pmu.wrmsr(STATUS_SET, EVERY_COUNTER).unwrap();
            let done = trapped.ask(1, Request::Write { msr, value }) == Reply::Done;
            if done == pmu.wrmsr(msr, value).is_ok() {
                for shown in [msr, STATUS] {
                    assert_eq!(trapped.read(shown), pmu.rdmsr(shown).unwrap(), "{msr:#x}, bit {bit}");
                }
            } else {
                different.push((msr, bit));
            }
        }
    }
    let above = (0x309..=0x30C).flat_map(|msr| (48..64).map(move |bit| (msr, bit)));
    assert_eq!(different, above.chain([58, 59, 61].map(|bit| (0x390, bit))).collect::<Vec<_>>());
}
