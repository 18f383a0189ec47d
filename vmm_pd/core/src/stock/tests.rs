//! The two layers over the seams, between the VMM's doubles.

use super::{PERIOD, State, StockLink, StockVcpu};
use crate::arch::primary;
use crate::switched::Switched;
use crate::vm::tests::double::*;
use crate::{Entry, Field, Interruption, Memory, PmuLink, RawExit, Registers, Return, Vcpu};
use pmu_api::{Completion, Configuration, Direct, Request};
use pmu_api::{Message, Reply};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const ENABLED: u64 = 1 << 22 | 1 << 17 | 0xC0;
const INT: u64 = 1 << 20;

/// SS of a guest at CPL 3 (SDM vol. 3C, table 25-2).
const USER: u64 = 0xC0F3;

const fn due(pmi: bool) -> Reply {
    if pmi { Reply::DoneWithPmi } else { Reply::Done }
}

fn direct(request: &Request) -> Option<Reply> {
    match request {
        Request::Open => Some(Reply::Opened(Configuration { direct: Direct::RDPMC, ..configuration() })),
        // Only what was completed makes a PMI due.
        Request::Account { completed } => Some(due(completed.is_some())),
        other => usual(other),
    }
}

fn quiet(request: &Request) -> Option<Reply> {
    match request {
        Request::Account { .. } => Some(Reply::Done),
        other => usual(other),
    }
}

/// What is asked when the preemption timer ran out makes a PMI due.
fn late(request: &Request) -> Option<Reply> {
    match request {
        Request::Account { completed } => Some(due(completed.is_none())),
        other => usual(other),
    }
}

/// A virtual CPU whose preemption timer has run out when that is the exit's reason, and else not moved.
struct Timed {
    playback: Playback,
    /// What the timer was set to.
    armed: Vec<u64>,
}

impl Vcpu for Timed {
    fn enter(&mut self, entry: &Entry) -> Return {
        let result = self.playback.enter(entry);
        if matches!(result, Return::Exit(RawExit { reason: 52, .. })) {
            self.playback.write(Field::PreemptionTimer, 0);
        }
        result
    }

    fn read(&mut self, field: Field) -> u64 {
        self.playback.read(field)
    }

    fn write(&mut self, field: Field, value: u64) {
        if field == Field::PreemptionTimer {
            self.armed.push(value);
        }
        self.playback.write(field, value);
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        self.playback.set(register, value)
    }

    fn now(&self) -> u64 {
        self.playback.now()
    }
}

impl Memory for Timed {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.playback.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.playback.write_memory(address, bytes)
    }
}

struct Bench {
    state: Cell<State>,
    asked: Rc<RefCell<Vec<Request>>>,
    answer: fn(&Request) -> Option<Reply>,
}

impl Bench {
    fn new(answer: fn(&Request) -> Option<Reply>) -> Self {
        Self { state: Cell::default(), asked: Rc::default(), answer }
    }

    fn policy(&self) -> Policy {
        Policy { asked: Rc::clone(&self.asked), answer: self.answer }
    }

    /// The VMM's own requests.
    fn ask(&self, requests: &[Request]) -> Vec<Message> {
        let mut link = StockLink::new(self.policy(), &self.state);
        requests.iter().map(|request| link.call(&request.encode()).expect("it answers")).collect()
    }

    fn vcpu(&self, exits: &[RawExit]) -> StockVcpu<'_, Timed, Policy> {
        let exits: VecDeque<Return> = exits.iter().map(|exit| Return::Exit(*exit)).collect();
        let playback = Playback { exits, ..Playback::default() };
        StockVcpu::new(Timed { playback, armed: Vec::new() }, self.policy(), &self.state)
    }

    fn accounts(&self) -> Vec<Option<Completion>> {
        let asked = self.asked.borrow();
        asked
            .iter()
            .filter_map(|request| match request {
                Request::Account { completed } => Some(*completed),
                _ => None,
            })
            .collect()
    }
}

fn entry(completed: bool) -> Entry {
    Entry {
        rip: RIP,
        primary_controls: primary::RDPMC | primary::HLT,
        injection: Interruption::NONE,
        completed,
        registers: None,
    }
}

fn write(msr: u32, value: u64) -> Request {
    Request::Write { msr, value }
}

fn reason(result: Return) -> u32 {
    match result {
        Return::Exit(exit) => exit.reason,
        Return::Notified { .. } => panic!("nothing notifies"),
    }
}

/// SDM vol. 3A, table 10-1: after a reset every general-purpose counter's bit is set; vol. 3C, 25.8.1: entry loads it.
#[test]
fn entry_loads_what_the_guest_wrote_and_the_policy_domain_took() {
    let bench = Bench::new(quiet);
    let mut vcpu = bench.vcpu(&[exit(10); 4]);
    let loaded = |vcpu: &StockVcpu<'_, Timed, Policy>| {
        vcpu.vcpu.playback.fields.get(&(Field::GuestPerfGlobalControl as u32)).copied()
    };
    vcpu.enter(&entry(false));
    assert_eq!(loaded(&vcpu), None, "nothing was opened: it stays 0");
    bench.ask(&[Request::Open]);
    vcpu.enter(&entry(false));
    assert_eq!(loaded(&vcpu), Some(0xFF));
    bench.ask(&[write(0x38F, 0x1_0000_0002)]);
    vcpu.enter(&entry(false));
    assert_eq!(loaded(&vcpu), Some(0x1_0000_0002));
    // The double refuses 0x187, and a refused write changes nothing.
    let before = bench.state.get();
    bench.ask(&[write(0x187, ENABLED)]);
    let counters = |state: State| (state.global_control, state.counts(), state.interrupts());
    assert_eq!(counters(bench.state.get()), counters(before));
    vcpu.write(Field::EntryControls, 1 << 9);
    assert_eq!(vcpu.read(Field::EntryControls), 1 << 13 | 1 << 9, "load IA32_PERF_GLOBAL_CTRL");
}

#[test]
fn rdpmc_exits_unless_the_policy_domain_makes_it_direct() {
    for (answer, controls) in
        [(quiet as fn(&Request) -> Option<Reply>, primary::RDPMC | primary::HLT), (direct, primary::HLT)]
    {
        let bench = Bench::new(answer);
        bench.ask(&[Request::Open]);
        let mut vcpu = bench.vcpu(&[]);
        vcpu.enter(&entry(false));
        assert_eq!(vcpu.vcpu.playback.entries[0].primary_controls, controls);
    }
}

/// Only while a counter is enabled twice, by its control register and by IA32_PERF_GLOBAL_CTRL (SDM vol. 3B, 20.2.2).
#[test]
fn a_completed_instruction_is_accounted_for_while_something_may_count() {
    let bench = Bench::new(quiet);
    bench.ask(&[Request::Open]);
    let mut vcpu = bench.vcpu(&[exit(10); 12]);
    let mut enter = |completed| vcpu.enter(&entry(completed));
    enter(true);
    assert_eq!(bench.accounts(), [], "no control register enables a counter");
    bench.ask(&[write(0x186, ENABLED)]);
    enter(true);
    assert_eq!(bench.accounts(), [], "the policy domain has accounted for an access");
    enter(false);
    assert_eq!(bench.accounts(), [], "nothing was completed");
    enter(true);
    let kernel = Some(Completion { branch: false, user: false });
    assert_eq!(bench.accounts(), [kernel]);
    bench.ask(&[write(0x38F, 2), write(0x38D, 3 << 4)]);
    enter(true);
    enter(true);
    assert_eq!(bench.accounts(), [kernel], "fixed counter 1 is not enabled globally");
    bench.ask(&[write(0x38F, 1 << 33)]);
    enter(true);
    vcpu.vcpu.playback.fields.insert(Field::GuestSsAccessRights as u32, USER);
    vcpu.enter(&entry(true));
    assert_eq!(bench.accounts(), [kernel, Some(Completion { branch: false, user: true })]);
    assert!(
        vcpu.vcpu.playback.entries.iter().all(|entry| !entry.completed),
        "this kernel takes no such word"
    );
}

/// The PMI comes as the exit that a kernel with the extension makes of it, and the registers of the entry that did not
/// happen come with the next one.
#[test]
fn a_pmi_by_a_completed_instruction_comes_before_the_entry() {
    let bench = Bench::new(direct);
    bench.ask(&[Request::Open, write(0x186, ENABLED)]);
    let mut vcpu = bench.vcpu(&[exit(10), exit(10)]);
    assert_eq!(reason(vcpu.enter(&entry(true))), 10);
    vcpu.vcpu.playback.fields.insert(Field::GuestRflags as u32, IF);
    let registers = Registers([7; 15]);
    let Return::Exit(pmi) = vcpu.enter(&Entry { registers: Some(registers), ..entry(true) }) else {
        panic!("nothing notifies")
    };
    assert_eq!((pmi.reason, pmi.rip, pmi.rflags, pmi.registers), (1, RIP, IF, registers));
    assert!(matches!(pmi.decode(), crate::exit::VmExit::ExternalInterrupt { .. }));
    assert_eq!(vcpu.vcpu.playback.entries.len(), 1);
    assert_eq!(reason(vcpu.enter(&entry(false))), 10);
    assert_eq!(vcpu.vcpu.playback.entries[1].registers, Some(registers));
}

/// A counter that interrupts is looked at once in a period; the VMM's own timer goes on meanwhile.
#[test]
fn overflows_are_found_by_the_preemption_timer() {
    let bench = Bench::new(late);
    bench.ask(&[Request::Open, write(0x186, ENABLED | INT)]);
    let expired = exit(52);
    let mut vcpu = bench.vcpu(&[expired, exit(10), expired]);
    let timer = Field::PreemptionTimer;
    vcpu.vcpu.playback.fields.insert(timer as u32, 3 * PERIOD);
    assert_eq!(reason(vcpu.enter(&entry(false))), 1, "the end of the period is a PMI, not the VMM's timer");
    assert_eq!(vcpu.read(timer), 2 * PERIOD, "the VMM's own timer");
    assert_eq!(reason(vcpu.enter(&entry(false))), 10);
    assert_eq!(bench.accounts(), [None], "after the exit of the period's end, not yet after this one");
    assert_eq!(reason(vcpu.enter(&entry(false))), 1, "any exit is followed by a look");
    assert_eq!(bench.accounts(), [None, None]);
}

/// The VMM's timer that ends first is the VMM's exit, and without a counter that interrupts it is the processor's.
#[test]
fn the_vmms_own_timer_is_kept() {
    let bench = Bench::new(quiet);
    bench.ask(&[Request::Open, write(0x186, ENABLED | INT)]);
    let mut vcpu = bench.vcpu(&[exit(52), exit(10)]);
    let timer = Field::PreemptionTimer;
    vcpu.write(timer, PERIOD / 2);
    assert_eq!(reason(vcpu.enter(&entry(false))), 52);
    vcpu.write(timer, 5000);
    bench.ask(&[write(0x38F, 0)]);
    assert_eq!(reason(vcpu.enter(&entry(false))), 10);
    assert_eq!(vcpu.vcpu.armed.last(), Some(&5000));
}

/// A restored guest counts what its registers say.
#[test]
fn a_restore_is_followed_by_a_look_at_every_control_register() {
    fn restored(request: &Request) -> Option<Reply> {
        Some(match request {
            Request::Restore(_) => Reply::Restored,
            Request::Read { msr: 0x188 } => Reply::Value { value: ENABLED | INT },
            Request::Read { msr: 0x38F } => Reply::Value { value: 4 },
            Request::Read { msr: 0x18B } => Reply::Fault,
            Request::Read { .. } => Reply::Value { value: 0 },
            other => return usual(other),
        })
    }
    let bench = Bench::new(restored);
    bench.ask(&[Request::Open, write(0x186, ENABLED)]);
    let chunk = pmu_api::Chunk::new(0, 1, [0; 7]).expect("a chunk");
    bench.ask(&[Request::Restore(chunk)]);
    let state = bench.state.get();
    assert_eq!((state.global_control, state.counts(), state.interrupts()), (4, true, true));
}

/// Each exit takes one call at most: that of the guest's access, or one that accounts for what was completed and looks for
/// overflows, or one that looks.
#[test]
fn an_exit_takes_one_call_at_most() {
    let bench = Bench::new(quiet);
    bench.ask(&[Request::Open, write(0x186, ENABLED | INT)]);
    let mut vcpu = bench.vcpu(&[exit(10); 8]);
    vcpu.enter(&entry(true));
    let calls = |bench: &Bench| bench.asked.borrow().len();
    let before = calls(&bench);
    bench.ask(&[write(0x186, ENABLED | INT)]);
    vcpu.enter(&entry(true));
    assert_eq!(calls(&bench) - before, 1, "an access");
    bench.ask(&[Request::Rdpmc { index: 0, privilege: pmu_api::Privilege::new(0, true, true) }]);
    vcpu.enter(&entry(true));
    assert_eq!(calls(&bench) - before, 2, "another");
    // The double refuses 0x187: a fault.
    bench.ask(&[write(0x187, ENABLED)]);
    vcpu.enter(&entry(false));
    assert_eq!(calls(&bench) - before, 3, "one that faults");
    vcpu.enter(&entry(true));
    assert_eq!(calls(&bench) - before, 4, "another instruction");
    vcpu.enter(&entry(false));
    assert_eq!(calls(&bench) - before, 5, "an exit without an instruction");
    bench.ask(&[write(0x38F, 0)]);
    vcpu.enter(&entry(true));
    vcpu.enter(&entry(true));
    assert_eq!(calls(&bench) - before, 6, "nothing counts any more");
}

/// A PMI that the answer of an access tells of: the VMM's own code gets the answer without it, and then the PMI.
#[test]
fn a_pmi_that_an_access_tells_of_comes_after_it() {
    fn telling(request: &Request) -> Option<Reply> {
        Some(match request {
            Request::Write { msr: 0x38F, .. } => Reply::DoneWithPmi,
            Request::Read { .. } => Reply::ValueWithPmi { value: 5 },
            other => return quiet(other),
        })
    }
    let bench = Bench::new(telling);
    bench.ask(&[Request::Open, write(0x186, ENABLED | INT)]);
    let mut vcpu = bench.vcpu(&[exit(10); 4]);
    let answers = bench.ask(&[write(0x38F, 0), Request::Read { msr: 0xC1 }]);
    let answers: Vec<_> = answers.iter().map(Reply::decode).collect();
    assert_eq!(answers, [Ok(Reply::Done), Ok(Reply::Value { value: 5 })]);
    assert_eq!(bench.state.get().global_control, 0, "the write is in force");
    assert_eq!(reason(vcpu.enter(&entry(true))), 1);
    assert_eq!(reason(vcpu.enter(&entry(false))), 10, "once");
    assert_eq!(bench.accounts(), []);
}
