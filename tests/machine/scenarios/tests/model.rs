//! The scenarios on the model alone.

use machine_scenarios::{Geometry, HANDLER, LVT_MASKED, Op, PMI_VECTOR, Scenario, Step, all, msr};
use pmu_model::{Cpuid0A, Events, Llc, Lookup, Lvtpc, PerfCapabilities, Pmu, Predictor, Ring};
use std::collections::HashSet;

/// Where the conditional branch of a program is, and where its buffer begins.
const BRANCH: u64 = 0x10_1234;
const BUFFER: u64 = 0x100_0000;
const CACHE_LINE: u64 = 64;

/// A processor that runs programs instruction by instruction, with the handler of the selftest kernel.
struct Processor {
    pmu: Pmu,
    lvtpc: Lvtpc,
    llc: Box<Llc>,
    predictor: Predictor,
    pmis: u64,
}

impl Processor {
    fn new(leaf: Cpuid0A) -> Self {
        let geometry = pmu_model::Geometry::from_cpuid(leaf).expect("a known geometry");
        Self {
            pmu: Pmu::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE))),
            lvtpc: Lvtpc(LVT_MASKED),
            llc: Box::default(),
            predictor: Predictor::new(),
            pmis: 0,
        }
    }

    /// One instruction; a PMI is taken after it.
    fn retire(&mut self, events: &Events) {
        let Some(request) = self.pmu.advance(Ring::Kernel, events) else { return };
        let Some(delivery) = self.lvtpc.deliver(request) else { return };
        assert!(delivery.mode == Lvtpc::NMI || u32::from(delivery.vector) == PMI_VECTOR);
        self.pmis += 1;
        // The handler's last counted instruction is the WRMSR, which counts with the old register values.
        for _ in 0..HANDLER {
            self.retire(&Events::instruction());
        }
        self.pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0).expect("0 is valid");
    }

    fn operation(&mut self, op: Op) -> Events {
        let mut events = Events::instruction();
        match op {
            Op::Plain => {}
            Op::Conditional { taken } => {
                events.branches = 1;
                events.branch_misses = u64::from(self.predictor.conditional(BRANCH, taken));
            }
            Op::Call => events.branches = 1,
            Op::Load(line) => {
                events.llc_references = 1;
                let outcome = self.llc.access(BUFFER + line * CACHE_LINE);
                events.llc_misses = u64::from(outcome == Lookup::Miss);
            }
        }
        events
    }

    fn step(&mut self, at: &str, step: Step) {
        match step {
            Step::Write(msr, value) => self.pmu.wrmsr(msr, value).unwrap_or_else(|e| panic!("{at}: {e:?}")),
            Step::WriteFaults(msr, value) => assert!(self.pmu.wrmsr(msr, value).is_err(), "{at}"),
            Step::Read(msr, want) => assert_eq!(self.pmu.rdmsr(msr), Ok(want), "{at}"),
            Step::ReadFaults(msr) => assert!(self.pmu.rdmsr(msr).is_err(), "{at}"),
            Step::WritableBits(msr, want) => {
                let accepted = (0..64).filter(|bit| self.pmu.wrmsr(msr, 1 << bit).is_ok());
                assert_eq!(accepted.fold(0_u64, |mask, bit| mask | 1 << bit), want, "{at}");
                self.pmu.wrmsr(msr, 0).expect(at);
            }
            Step::Rdpmc(index, want) => assert_eq!(self.pmu.rdpmc(index), Ok(want), "{at}"),
            Step::RdpmcFaults(index) => assert!(self.pmu.rdpmc(index).is_err(), "{at}"),
            Step::Lvtpc(value) => self.lvtpc = Lvtpc(value),
            Step::LvtpcIs(want) => assert_eq!(self.lvtpc.0, want, "{at}"),
            Step::Run(ctrl, program) => {
                self.retire(&Events::instruction());
                self.pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, ctrl).expect(at);
                for op in program.ops() {
                    let events = self.operation(op);
                    self.retire(&events);
                }
                for _ in 0..machine_scenarios::WINDOW {
                    self.retire(&Events::instruction());
                }
                self.pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0).expect("0 is valid");
            }
            Step::PmisTaken(want) => assert_eq!(self.pmis, want, "{at}"),
        }
    }
}

fn run_all(leaf: Cpuid0A) {
    let geometry = Geometry::from_cpuid(leaf.eax, leaf.ebx, leaf.edx);
    let mut names = HashSet::new();
    let mut processor = Processor::new(leaf);
    all(&geometry, &mut |scenario: &Scenario| {
        assert!(names.insert(scenario.name.to_owned()), "two scenarios are named {}", scenario.name);
        // A new PMU; cache and predictor keep what they have learnt, as on the machine.
        let fresh = Processor::new(leaf);
        (processor.pmu, processor.lvtpc, processor.pmis) = (fresh.pmu, fresh.lvtpc, 0);
        processor.pmu.wrmsr(msr::IA32_PERF_GLOBAL_CTRL, 0).expect("0 is valid");
        for (i, &step) in scenario.steps.iter().enumerate() {
            processor
                .step(&format!("{} (SDM {}), step {i}: {step:?}", scenario.name, scenario.section), step);
        }
    });
    assert!(names.len() > 40, "only {} scenarios", names.len());
}

#[test]
fn version_5_with_8_and_4_counters() {
    run_all(Cpuid0A { eax: 0x0830_0805, ebx: 0, ecx: 0, edx: 0x8604 });
}

#[test]
fn version_4_with_4_and_3_counters() {
    run_all(Cpuid0A { eax: 0x0730_0404, ebx: 0, ecx: 0, edx: 0x603 });
}

#[test]
fn version_3_with_4_and_3_counters() {
    run_all(Cpuid0A { eax: 0x0730_0403, ebx: 0, ecx: 0, edx: 0x603 });
}
