//! Every sequence of an alphabet: pmu_core and the reference in lockstep.

use crate::hardware::{Context, SharedContext};
use crate::reference::Reference;
use crate::registers::{Answer, Op, Registers};
use crate::subject::{answer_by, completed, counted, direct, guest, policy_filter};
use crate::system::{System, cells};
use crate::trace::{References, Trace};
use pmu_api::Request;
use pmu_core::policy::Policy;
use pmu_core::{Filter, RegionCells, Vm};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;

/// What pmu_core needs to be started anew quickly, for a system of one VM.
#[derive(Debug)]
pub struct Bench {
    system: System,
    policy: Vec<AtomicU64>,
    tables: Vec<Vec<AtomicU64>>,
    statistics: RegionCells,
}

/// The end of a run of pmu_core.
type End = (Answer, Registers, [u64; 8], u64);

impl Bench {
    /// For `system`, which has one VM.
    pub fn new(system: System) -> Self {
        let policy = cells(&system.policy(&[system.vms[0].filter]));
        let tables = system.filters.iter().map(|filter| cells(&filter.table())).collect();
        Self { system, policy, tables, statistics: RegionCells::new() }
    }

    fn filter(&self, index: usize) -> Filter<'_> {
        policy_filter(&self.tables[index], &self.system.filters[index])
    }

    /// Runs pmu_core from reset over `path`, which is not empty: the last answer, the context, the guest's selectors
    /// and fixed control.
    pub fn run(&self, policy: &Policy<'_>, path: &[Op]) -> End {
        let context = Rc::new(RefCell::new(Context::new(self.system.hardware)));
        let mut vm = Vm::new(&policy.vms[0], SharedContext(context.clone()), &self.statistics.vms()[0]);
        let geometry = *vm.vpmu().unwrap_or_else(|reason| panic!("no vPMU: {reason:?}")).geometry();
        let mut answer = Answer::Done;
        for op in path {
            answer = match *op {
                Op::Filter(index) => match vm.replace_filter(self.filter(index)) {
                    Ok(()) => Answer::Done,
                    Err(_) => Answer::Refused,
                },
                Op::Count(general, fixed) => counted(&context, &general, &fixed),
                Op::GuestRead(_) | Op::GuestWrite(..) => {
                    guest(&context, op, |op| answer_by(|request| vm.step(request, 0), &geometry, op)).0
                }
                Op::Complete(user, branch) => completed(&context, user, branch),
                Op::DirectRead(_) | Op::DirectWrite(..) => direct(&context, op),
                Op::Overflow(now) => answer_by(|request| vm.step(request, now), &geometry, op),
                _ => answer_by(|request| vm.step(request, 0), &geometry, op),
            };
        }
        // The domain does not know what the kernel carried out before it reads a control register.
        if path.iter().any(|op| matches!(op, Op::GuestWrite(..))) {
            let _ = vm.step(&Request::Read { msr: 0x186 }, 0);
        }
        let vpmu = vm.vpmu().unwrap_or_else(|reason| panic!("no vPMU: {reason:?}"));
        let selectors = vpmu.selectors().map(|selector| selector.0);
        (answer, context.borrow().registers, selectors, vpmu.fixed_control().0)
    }

    /// Runs `path`, and compares its end with the reference after `answer`.
    fn compare(
        &self,
        policy: &Policy<'_>,
        path: &[Op],
        reference: &Reference,
        answer: Answer,
    ) -> Result<(), String> {
        let got = self.run(policy, path);
        let registers = reference.registers;
        let want = (answer, reference.context(), registers.selectors, registers.fixed_control);
        if got == want {
            Ok(())
        } else {
            Err(format!("after {path:x?}\npmu_core  {got:x?}\nreference {want:x?}"))
        }
    }

    /// Every sequence of `operations` of at most `depth`: how many, or the first that differs.
    ///
    /// # Errors
    /// The sequence and both ends.
    pub fn lockstep(&self, operations: &[Op], depth: usize) -> Result<u64, String> {
        let policy = Policy::parse(&self.policy).map_err(|error| format!("own policy: {error:?}"))?;
        let mut path = Vec::with_capacity(depth);
        let mut count = 0;
        self.descend(&policy, operations, depth, &self.system.reference(0), &mut path, &mut count)?;
        Ok(count)
    }

    fn descend(
        &self,
        policy: &Policy<'_>,
        operations: &[Op],
        depth: usize,
        reference: &Reference,
        path: &mut Vec<Op>,
        count: &mut u64,
    ) -> Result<(), String> {
        if path.len() == depth {
            return Ok(());
        }
        for op in operations {
            let mut next = reference.clone();
            let answer = next.step(op);
            path.push(*op);
            self.compare(policy, path, &next, answer)?;
            *count += 1;
            self.descend(policy, operations, depth, &next, path, count)?;
            path.pop();
        }
        Ok(())
    }

    /// Breadth-first over every state that `operations` reach, each compared after every operation; the number of
    /// states and of comparisons.
    ///
    /// # Errors
    /// The path and both ends; or more than `limit` states.
    pub fn fixpoint(&self, operations: &[Op], limit: usize) -> Result<(usize, u64), String> {
        let policy = Policy::parse(&self.policy).map_err(|error| format!("own policy: {error:?}"))?;
        let start = self.system.reference(0);
        let mut paths: HashMap<(Registers, usize), Vec<Op>> = HashMap::new();
        paths.insert((start.registers, start.filter), Vec::new());
        let mut queue = VecDeque::from([start]);
        let mut count = 0;
        while let Some(state) = queue.pop_front() {
            let mut path = paths[&(state.registers, state.filter)].clone();
            for op in operations {
                let mut next = state.clone();
                let answer = next.step(op);
                path.push(*op);
                self.compare(&policy, &path, &next, answer)?;
                count += 1;
                let key = (next.registers, next.filter);
                if !paths.contains_key(&key) {
                    if paths.len() == limit {
                        return Err(format!("more than {limit} states"));
                    }
                    paths.insert(key, path.clone());
                    queue.push_back(next);
                }
                path.pop();
            }
        }
        Ok((paths.len(), count))
    }
}

/// A trace of the reference over every sequence of `operations` of at most `depth`, for the oracle.
pub fn reference_trace(system: &System, operations: &[Op], depth: usize) -> String {
    fn descend(trace: &mut Trace<'_>, players: &References<'_>, operations: &[Op], depth: usize) {
        if depth == 0 {
            return;
        }
        for op in operations {
            let mut next = players.clone();
            trace.text.push_str("push\n");
            trace.step(&mut next, 0, op);
            descend(trace, &next, operations, depth - 1);
            trace.text.push_str("pop\n");
        }
    }
    let players = References::new(system);
    let mut trace = Trace::new(system, &players);
    descend(&mut trace, &players, operations, depth);
    trace.text
}
