//! pmu_core on a kernel without the PMU extension: its port by MSR system calls on a model of the hardware, and its own
//! accounting for completed instructions and PMIs.
//!
//! What hardware counted is seen there by a look at IA32_PERF_GLOBAL_STATUS. A counter that overflows while its bit is
//! still set shows nothing new, so that whether the specification's PMI is noticed is then left open.

use crate::alphabet::{completions, hardware, readable};
use crate::hardware::{Context, SharedContext, raw};
use crate::random::Random;
use crate::reference::Reference;
use crate::registers::{Answer, Geometry, Op, Registers};
use crate::subject::{answer_by, policy_filter};
use crate::system::{System, VmConfig, cells};
use crate::trace::{Player, Trace};
use pmu_api::{Completion, Reply, Request};
use pmu_core::msr_port::{Cpuid, MsrPort, Msrs};
use pmu_core::policy::Policy;
use pmu_core::{Filter, KernelMode, PmuPort, PortError, RegionCells, Vm};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// The processor's MSRs. A #GP(0) in a system call halts that kernel: here it is a panic.
#[derive(Debug)]
pub struct Processor(SharedContext);

const IA32_PERF_GLOBAL_CTRL: u32 = 0x38F;

impl Msrs for Processor {
    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        let context = self.0.0.borrow();
        match msr {
            // IA32_VMX_EXIT_CTLS and IA32_VMX_ENTRY_CTLS: everything may be 1.
            0x483 | 0x484 => Ok(u64::MAX << 32),
            // Outside the guest.
            IA32_PERF_GLOBAL_CTRL => Ok(0),
            _ => {
                let value = Reference::of(context.geometry(), context.registers).read(msr);
                Ok(value.unwrap_or_else(|| panic!("RDMSR {msr:#x} halts the kernel")))
            }
        }
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let mut context = self.0.0.borrow_mut();
        if msr == IA32_PERF_GLOBAL_CTRL {
            assert_eq!(value, 0, "IA32_PERF_GLOBAL_CTRL outside the guest");
            return Ok(());
        }
        let mut hardware = Reference::of(context.geometry(), context.registers);
        let answer = hardware.step(&Op::Write(msr, value));
        assert_eq!(answer, Answer::Done, "WRMSR {msr:#x}, {value:#x} halts the kernel");
        context.registers = hardware.registers;
        Ok(())
    }
}

/// pmu_core with the one VM of a system.
#[derive(Debug)]
pub struct Stock {
    vm: Vm<'static, MsrPort<Processor>>,
    filters: Vec<Filter<'static>>,
    hardware: Rc<RefCell<Context>>,
    /// Of the last access: at which level, and whether its completion made a PMI due.
    accounted: Option<(Completion, bool)>,
}

impl Stock {
    /// For `system`, which has one VM.
    pub fn new(system: &System) -> Self {
        let leak = |words: &[u64]| -> &'static [AtomicU64] { Box::leak(cells(words).into_boxed_slice()) };
        let policy = Policy::parse(leak(&system.policy(&[system.vms[0].filter])));
        let policy = policy.unwrap_or_else(|error| panic!("own policy: {error:?}"));
        let filters = system.filters.iter().map(|filter| policy_filter(leak(&filter.table()), filter));
        let hardware = Rc::new(RefCell::new(Context::new(system.hardware)));
        hardware.borrow_mut().mode = KernelMode::Trapped;
        // VMX and PDCM.
        let cpuid = Cpuid { leaf_1_ecx: 1 << 5 | 1 << 15, leaf_a: raw(&system.hardware).leaf_a };
        let port = MsrPort::new(Some(Processor(SharedContext(hardware.clone()))), cpuid);
        let statistics: &'static RegionCells = Box::leak(Box::new(RegionCells::new()));
        let vm = Vm::new(&policy.vms[0], port, &statistics.vms()[0]);
        Self { vm, filters: filters.collect(), hardware, accounted: None }
    }

    /// An access of the guest: what it gets, and whether a PMI is due after it.
    fn access(&mut self, request: &Request, user: bool) -> Answer {
        let (answer, pmi) = match self.vm.step(request, 0) {
            Reply::Value { value } => (Answer::Value(value), false),
            Reply::ValueWithPmi { value } => (Answer::Value(value), true),
            Reply::Done => (Answer::Done, false),
            Reply::DoneWithPmi => (Answer::Done, true),
            Reply::Fault => return Answer::Fault,
            reply => panic!("an answer to another question: {reply:?}"),
        };
        self.accounted = Some((Completion { branch: false, user }, pmi));
        answer
    }

    fn account(&mut self, completed: Option<Completion>) -> Answer {
        match self.vm.step(&Request::Account { completed }, 0) {
            Reply::Done => Answer::Quiet,
            Reply::DoneWithPmi => Answer::Pmi,
            reply => panic!("an answer to another question: {reply:?}"),
        }
    }
}

impl Player for Stock {
    fn step(&mut self, _vm: usize, op: &Op) -> Answer {
        self.accounted = None;
        let answer = match *op {
            Op::Read(_) | Op::Write(..) | Op::Rdpmc(..) => {
                let user = matches!(op, Op::Rdpmc(_, 1.., _, _));
                self.access(&op.request(), user)
            }
            Op::Complete(user, branch) => self.account(Some(Completion { branch, user })),
            Op::Count(general, fixed) => {
                // Where the guest cannot clear it, pmu_core does.
                let clears = self.vm.vpmu().is_ok_and(|vpmu| vpmu.geometry().has_global());
                let open = clears && self.hardware.borrow().registers.status != 0;
                self.hardware.borrow_mut().count(&general, &fixed);
                let answer = self.account(None);
                if open { Answer::PmiOrQuiet } else { answer }
            }
            Op::Filter(index) => match self.vm.replace_filter(self.filters[index]) {
                Ok(()) => Answer::Done,
                Err(_) => Answer::Refused,
            },
            _ => {
                let vpmu = self.vm.vpmu().unwrap_or_else(|reason| panic!("no vPMU: {reason:?}"));
                let geometry = *vpmu.geometry();
                answer_by(|request| self.vm.step(request, 0), &geometry, op)
            }
        };
        // What VM entry loads.
        let loaded = self.vm.port().read(IA32_PERF_GLOBAL_CTRL).unwrap_or(0);
        self.hardware.borrow_mut().registers.global_control = loaded;
        answer
    }

    fn context(&self, _vm: usize) -> Registers {
        self.hardware.borrow().registers
    }

    fn is_direct(&self, _vm: usize) -> bool {
        false
    }

    // Pin control is not written there.
    fn shows_contexts(&self) -> bool {
        false
    }

    fn accounted(&mut self) -> Option<(Completion, bool)> {
        self.accounted.take()
    }
}

/// One guest on such a kernel: of all counters, of a part (the two of `systems`), of fixed counters with a gap, and one without
/// global registers.
pub fn systems(systems: [(&'static str, System); 2]) -> Vec<(&'static str, System)> {
    let [all, part] = systems;
    let geometry = Geometry { fixed: 0b1101, ..hardware(5, 4, 0) };
    let gap = VmConfig { fixed: None, general: 4, ..all.1.vms[0] };
    let gap = System { hardware: geometry, vms: vec![gap], ..all.1.clone() };
    let plain = VmConfig { version: 1, fixed: None, ..part.1.vms[0] };
    let plain = System { vms: vec![plain], ..part.1.clone() };
    vec![all, part, ("4 counters and a gap", gap), ("2 counters, version 1", plain)]
}

/// A trace of [`completions`] and `steps` random operations, each register being read now and then.
pub fn trace(system: &System, steps: usize, seed: u64) -> Trace<'_> {
    let mut stock = Stock::new(system);
    let mut random = Random::new(seed);
    let mut trace = Trace::new(system, &stock);
    let mut saved = None;
    for op in completions() {
        trace.step(&mut stock, 0, &op);
    }
    for number in 0..steps {
        let op = match random.op(system, 0, saved.as_ref()) {
            Op::GuestRead(msr) | Op::DirectRead(msr) => Op::Read(msr),
            Op::GuestWrite(msr, value) | Op::DirectWrite(msr, value) => Op::Write(msr, value),
            op => op,
        };
        if matches!(op, Op::Count(..)) && random.below(4) != 0 {
            trace.step(&mut stock, 0, &Op::Write(0x390, u64::from(system.guest(0).fixed) << 32 | 3));
        }
        if let Answer::Saved(registers) = trace.step(&mut stock, 0, &op) {
            saved = Some(registers);
        }
        if number % 16 == 0 {
            for msr in readable() {
                trace.step(&mut stock, 0, &Op::Read(msr));
            }
        }
    }
    trace
}
