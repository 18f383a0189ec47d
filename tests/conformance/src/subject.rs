//! pmu_core as it runs in the policy domain: requests and replies as messages, channels, the manager.

use crate::filter::EventFilter;
use crate::hardware::{Context, Recorded, SharedContext};
use crate::registers::{Answer, Op, Registers};
use crate::system::{MANAGER, System, cells};
use pmu_api::{Message, OverflowDecision, Reply, Request};
use pmu_core::geometry::Geometry as CoreGeometry;
use pmu_core::registers::{EventSelect, FixedControl};
use pmu_core::shadow::TABLE_WORDS;
use pmu_core::snapshot::{self, Buffer, SNAPSHOT_CHUNKS};
use pmu_core::{Domain, Filter, KernelMode, RegionCells};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// pmu_core with a context for each VM.
#[derive(Debug)]
pub struct Subject {
    domain: Domain<'static, SharedContext>,
    update: &'static [AtomicU64],
    system: System,
    filters: Vec<usize>,
    contexts: Vec<Rc<RefCell<Context>>>,
    /// Whether the kernel carried out the last operation by itself.
    by_kernel: bool,
}

impl Subject {
    /// The domain for `system`. Its regions live as long as the program, as they do in the protection domain.
    pub fn new(system: &System) -> Self {
        let filters: Vec<usize> = system.vms.iter().map(|vm| vm.filter).collect();
        let policy: &'static [AtomicU64] = Box::leak(cells(&system.policy(&filters)).into_boxed_slice());
        let update: &'static [AtomicU64] = Box::leak(cells(&system.policy(&filters)).into_boxed_slice());
        let statistics: &'static RegionCells = Box::leak(Box::new(RegionCells::new()));
        let new_context = |_| Rc::new(RefCell::new(Context::new(system.hardware)));
        let contexts: Vec<_> = (0..system.vms.len()).map(new_context).collect();
        let port = |channel: u8| SharedContext(contexts[usize::from(channel) - 1].clone());
        let domain = Domain::new(policy, update, statistics, port);
        Self { domain, update, system: system.clone(), filters, contexts, by_kernel: false }
    }

    /// What VM `vm`'s registers are in the hardware while it runs.
    pub fn context(&self, vm: usize) -> Registers {
        self.contexts[vm].borrow().registers
    }

    /// Whether VM `vm`'s data registers are the hardware's.
    pub fn is_direct(&self, vm: usize) -> bool {
        matches!(self.contexts[vm].borrow().mode, KernelMode::Direct | KernelMode::Raw)
    }

    /// Whether the kernel carried out the last operation, of VM `vm`, by itself, and what it has recorded.
    pub fn kernel(&mut self, vm: usize) -> (bool, Vec<Recorded>) {
        (self.by_kernel, self.contexts[vm].borrow_mut().take_recorded())
    }

    /// The geometry that pmu_core gave VM `vm`.
    fn geometry(&self, vm: usize) -> CoreGeometry {
        let vpmu = self.domain.vms()[vm].vpmu();
        *vpmu.unwrap_or_else(|reason| panic!("VM {vm} has no vPMU: {reason:?}")).geometry()
    }

    fn ask(&mut self, channel: u8, request: &Request) -> Reply {
        let reply = self.domain.handle(channel, &request.encode(), 0);
        decoded(&reply)
    }

    /// Carries out `op` for VM `vm` by messages.
    pub fn step(&mut self, vm: usize, op: &Op) -> Answer {
        let channel = System::channel(vm);
        self.by_kernel = false;
        match *op {
            Op::GuestRead(_) | Op::GuestWrite(..) => {
                let context = self.contexts[vm].clone();
                let (answer, by_kernel) = guest(&context, op, |op| self.step(vm, op));
                self.by_kernel = by_kernel;
                answer
            }
            Op::Filter(index) => {
                self.filters[vm] = index;
                let policy = self.system.policy(&self.filters);
                policy.iter().zip(self.update).for_each(|(word, cell)| cell.store(*word, Relaxed));
                let vm = u32::from(channel) - 1;
                answer(&self.ask(MANAGER, &Request::ReplaceFilter { vm }))
            }
            Op::Count(general, fixed) => counted(&self.contexts[vm], &general, &fixed),
            Op::Complete(user, branch) => completed(&self.contexts[vm], user, branch),
            Op::DirectRead(_) | Op::DirectWrite(..) => direct(&self.contexts[vm], op),
            Op::Overflow(now) => {
                answer(&decoded(&self.domain.handle(channel, &Request::Overflow.encode(), now)))
            }
            _ => {
                let geometry = self.geometry(vm);
                answer_by(|request| self.ask(channel, request), &geometry, op)
            }
        }
    }
}

/// The reply in a message of the domain.
fn decoded(message: &Message) -> Reply {
    Reply::decode(message).unwrap_or_else(|error| panic!("not a reply: {error:?}: {message:?}"))
}

/// The context counts.
pub fn counted(context: &RefCell<Context>, general: &[u64; 8], fixed: &[u64; 4]) -> Answer {
    if context.borrow_mut().count(general, fixed) { Answer::Pmi } else { Answer::Quiet }
}

/// The kernel counts an instruction that was completed.
pub fn completed(context: &RefCell<Context>, user: bool, branch: bool) -> Answer {
    if context.borrow_mut().complete(user, branch) { Answer::Pmi } else { Answer::Quiet }
}

/// pmu_core's form of `listed`, whose table is in `cells`.
pub fn policy_filter<'a>(cells: &'a [AtomicU64], listed: &EventFilter) -> Filter<'a> {
    let table: &[AtomicU64; TABLE_WORDS] =
        cells.first_chunk().unwrap_or_else(|| panic!("a table has {TABLE_WORDS} words"));
    let fixed = (0..4).filter(|i| listed.permits_fixed(*i)).fold(0, |bits, i| bits | 1 << i);
    Filter::new(table, fixed).unwrap_or_else(|| panic!("{listed:?} permits off-core events"))
}

/// The guest's access without an exit.
pub fn direct(context: &RefCell<Context>, op: &Op) -> Answer {
    context.borrow_mut().direct(op).unwrap_or(Answer::Refused)
}

/// The guest's access: by the kernel of `context` if it may, else by `trap`; and which it was.
pub fn guest(context: &RefCell<Context>, op: &Op, mut trap: impl FnMut(&Op) -> Answer) -> (Answer, bool) {
    let by_kernel = match *op {
        Op::GuestRead(msr) => context.borrow_mut().guest_read(msr).map(Answer::Value),
        Op::GuestWrite(msr, value) => context.borrow_mut().guest_write(msr, value).map(|()| Answer::Done),
        _ => panic!("not an access of a guest: {op:?}"),
    };
    let answer = by_kernel.unwrap_or_else(|| match *op {
        Op::GuestRead(msr) => trap(&Op::Read(msr)),
        Op::GuestWrite(msr, value) => trap(&Op::Write(msr, value)),
        _ => Answer::Fault,
    });
    let value = match answer {
        Answer::Done => None,
        Answer::Value(value) => Some(value),
        other => return (other, false),
    };
    (Answer::Completed { value, pmi: context.borrow_mut().complete(false, false) }, by_kernel.is_some())
}

/// Carries out an operation that is a request of the VMM, or several, by `ask`.
pub fn answer_by(mut ask: impl FnMut(&Request) -> Reply, geometry: &CoreGeometry, op: &Op) -> Answer {
    match *op {
        Op::Open => answer(&ask(&Request::Open)),
        Op::Read(_) | Op::Write(..) | Op::Rdpmc(..) => answer(&ask(&op.request())),
        Op::Save => {
            let mut buffer = Buffer::default();
            for (index, place) in (0..).zip(buffer.as_chunks_mut::<7>().0) {
                match ask(&Request::Save { index }) {
                    Reply::Saved(chunk) => *place = chunk.data,
                    reply => return answer(&reply),
                }
            }
            let registers = snapshot::decode(geometry, &buffer);
            Answer::Saved(from_core(&registers.unwrap_or_else(|reason| panic!("own snapshot: {reason:?}"))))
        }
        Op::Restore(registers) => {
            let buffer = snapshot::encode(geometry, &to_core(&registers));
            let mut last = Answer::Refused;
            for index in 0..SNAPSHOT_CHUNKS as u64 {
                let chunk = snapshot::chunk(&buffer, index).unwrap_or_else(|| panic!("no chunk {index}"));
                last = answer(&ask(&Request::Restore(chunk)));
            }
            last
        }
        Op::Overflow(_) => answer(&ask(&Request::Overflow)),
        Op::Filter(_)
        | Op::Count(..)
        | Op::GuestRead(_)
        | Op::GuestWrite(..)
        | Op::DirectRead(_)
        | Op::DirectWrite(..)
        | Op::Complete(..) => {
            panic!("not a request of a VMM: {op:?}")
        }
    }
}

fn answer(reply: &Reply) -> Answer {
    match *reply {
        Reply::Value { value } => Answer::Value(value),
        Reply::Fault => Answer::Fault,
        Reply::Done | Reply::Opened(_) | Reply::Restoring { .. } | Reply::Restored | Reply::Replaced => {
            Answer::Done
        }
        Reply::Overflow(OverflowDecision::Deliver) => Answer::Deliver,
        Reply::Overflow(OverflowDecision::Delay { cycles }) => Answer::Delay(cycles),
        Reply::Overflow(OverflowDecision::Spurious) => Answer::Spurious,
        Reply::Refused(_) => Answer::Refused,
        _ => panic!("an answer to another question: {reply:?}"),
    }
}

fn to_core(registers: &Registers) -> snapshot::Registers {
    snapshot::Registers {
        selectors: registers.selectors.map(EventSelect),
        fixed_control: FixedControl(registers.fixed_control),
        global_control: registers.global_control,
        status: registers.status,
        general: registers.general,
        fixed: registers.fixed,
    }
}

fn from_core(registers: &snapshot::Registers) -> Registers {
    Registers {
        selectors: registers.selectors.map(|selector| selector.0),
        fixed_control: registers.fixed_control.0,
        global_control: registers.global_control,
        status: registers.status,
        general: registers.general,
        fixed: registers.fixed,
    }
}
