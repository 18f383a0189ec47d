//! Doubles of the two seams.

use crate::arch::Interruption;
use crate::registers::{Gpr, Registers};
use crate::switched::Switched;
use crate::vm::{Observer, Outcome};
use crate::{Entry, Field, Memory, PmuLink, RawExit, Return, StopReason, Vcpu, Vm, boot};
use pmu_api::{Configuration, Direct, Message, Mode, OverflowDecision, Reply, Request};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

pub const RIP: u64 = 0x10_0000;
pub const IF: u64 = 1 << 9;
/// The vector that the kernel uses for PMIs; the VMM does not care.
pub const PMI_VECTOR: u64 = 158;

/// A virtual CPU that returns the exits that it was given, then a triple fault.
pub struct Playback {
    pub exits: VecDeque<Return>,
    pub fields: HashMap<u32, u64>,
    pub entries: Vec<Entry>,
    pub memory: Vec<u8>,
    pub now: u64,
    /// Which registers the kernel switches, and those that were set.
    pub takes: fn(Switched, u64) -> bool,
    pub switched: Vec<(Switched, u64)>,
    /// The fields that were written, in order.
    pub written: Vec<(u32, u64)>,
    /// Fields that have this value from the entry of this number on: the guest has changed them.
    pub on_enter: Vec<(usize, Field, u64)>,
}

impl Default for Playback {
    fn default() -> Self {
        Self {
            exits: VecDeque::new(),
            fields: HashMap::new(),
            entries: Vec::new(),
            memory: Vec::new(),
            now: 0,
            takes: |_, _| false,
            switched: Vec::new(),
            written: Vec::new(),
            on_enter: Vec::new(),
        }
    }
}

impl Vcpu for Playback {
    fn enter(&mut self, entry: &Entry) -> Return {
        self.entries.push(*entry);
        for (number, field, value) in &self.on_enter {
            if *number == self.entries.len() {
                self.fields.insert(*field as u32, *value);
            }
        }
        self.now += 1000;
        let end = Return::Exit(RawExit { reason: 2, ..RawExit::default() });
        self.exits.pop_front().unwrap_or(end)
    }

    fn read(&mut self, field: Field) -> u64 {
        self.fields.get(&(field as u32)).copied().unwrap_or(0)
    }

    fn write(&mut self, field: Field, value: u64) {
        self.written.push((field as u32, value));
        self.fields.insert(field as u32, value);
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        self.switched.push((register, value));
        (self.takes)(register, value)
    }

    fn now(&self) -> u64 {
        self.now
    }
}

impl Memory for Playback {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        let Some(found) = range(address, bytes.len()).and_then(|range| self.memory.get(range)) else {
            return false;
        };
        bytes.copy_from_slice(found);
        true
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        let Some(found) = range(address, bytes.len()).and_then(|range| self.memory.get_mut(range)) else {
            return false;
        };
        found.copy_from_slice(bytes);
        true
    }
}

fn range(address: u64, length: usize) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(address).ok()?;
    Some(start..start.checked_add(length)?)
}

pub fn configuration() -> Configuration {
    Configuration {
        mode: Mode::Mediated,
        direct: Direct::empty(),
        leaf_a: [0x0730_0802, 0, 0, 0x603],
        perf_capabilities: 0x2000,
        pdcm: true,
        report_overflow: false,
    }
}

/// A policy domain: the answers come from a function, over encoded messages.
pub struct Policy {
    pub asked: Rc<RefCell<Vec<Request>>>,
    pub answer: fn(&Request) -> Option<Reply>,
}

impl PmuLink for Policy {
    fn call(&mut self, request: &Message) -> Option<Message> {
        let received = Message::received(request.label(), request.words());
        let request = Request::decode(&received).expect("the VMM sends requests");
        self.asked.borrow_mut().push(request);
        let reply = (self.answer)(&request)?.encode();
        Some(Message::received(reply.label(), reply.words()))
    }
}

/// Control registers keep what is written, 0x18f faults, PMIs are delivered.
pub fn usual(request: &Request) -> Option<Reply> {
    Some(match request {
        Request::Open => Reply::Opened(configuration()),
        Request::Write { msr: 0x187, .. } | Request::Read { msr: 0x187 } => Reply::Fault,
        Request::Write { .. } => Reply::Done,
        Request::Read { msr } => Reply::Value { value: u64::from(*msr) << 32 | 7 },
        Request::Rdpmc { index, .. } => Reply::Value { value: u64::from(*index) },
        _ => Reply::Overflow(OverflowDecision::Deliver),
    })
}

#[derive(Default)]
pub struct Seen {
    pub output: Vec<u8>,
    pub outcomes: Vec<Outcome>,
}

impl Observer for Seen {
    fn output(&mut self, byte: u8) {
        self.output.push(byte);
    }

    fn exit(&mut self, _: &RawExit, outcome: &Outcome) {
        self.outcomes.push(*outcome);
    }
}

/// What came of a run.
pub struct Ran {
    pub stop: StopReason,
    pub entries: Vec<Entry>,
    pub fields: HashMap<u32, u64>,
    pub seen: Seen,
    pub asked: Vec<Request>,
    pub vm: Vm<Policy>,
}

impl Ran {
    pub fn field(&self, field: Field) -> u64 {
        self.fields.get(&(field as u32)).copied().unwrap_or(0)
    }
}

/// Runs a guest that exits so, with a policy domain that answers so.
pub fn run_with(answer: fn(&Request) -> Option<Reply>, exits: &[RawExit]) -> Ran {
    let mut memory = vec![0; 0x20_0000];
    boot::write_tables(&mut memory);
    play(answer, exits.iter().map(|exit| Return::Exit(*exit)).collect(), memory)
}

pub fn play(answer: fn(&Request) -> Option<Reply>, exits: VecDeque<Return>, memory: Vec<u8>) -> Ran {
    run_machine(answer, exits, memory, HashMap::new()).0
}

/// A run in this memory, with these VMCS fields besides those that the VMM sets; and the memory after it.
pub fn run_machine(
    answer: fn(&Request) -> Option<Reply>,
    exits: VecDeque<Return>,
    memory: Vec<u8>,
    fields: HashMap<u32, u64>,
) -> (Ran, Vec<u8>) {
    let (ran, vcpu) = run_on_vcpu(answer, Playback { exits, fields, memory, ..Playback::default() });
    (ran, vcpu.memory)
}

/// A run on a kernel that takes what the bundled one takes.
pub fn run_bundled(exits: &[RawExit], fields: HashMap<u32, u64>) -> (Ran, Vec<(Switched, u64)>) {
    let mut memory = vec![0; 0x40_0000];
    boot::write_tables(&mut memory);
    let exits = exits.iter().map(|exit| Return::Exit(*exit)).collect();
    let (ran, rest) =
        run_on_vcpu(usual, Playback { exits, fields, memory, takes: |_, _| true, ..Playback::default() });
    (ran, rest.switched)
}

/// A run on this virtual CPU, and what is left of it.
pub fn run_on_vcpu(answer: fn(&Request) -> Option<Reply>, mut vcpu: Playback) -> (Ran, Playback) {
    let asked = Rc::default();
    let mut vm = Vm::new(Policy { asked: Rc::clone(&asked), answer }).expect("the policy domain opens");
    let size = vcpu.memory.len() as u64;
    let mut seen = Seen::default();
    let stop = vm.run(&mut vcpu, &mut seen, &boot::Start::long(RIP, size));
    let asked = asked.borrow().clone();
    let (entries, fields) = (core::mem::take(&mut vcpu.entries), vcpu.fields.clone());
    (Ran { stop, entries, fields, seen, asked, vm }, vcpu)
}

pub fn run(exits: &[RawExit]) -> Ran {
    run_with(usual, exits)
}

/// An exit with two bytes of instruction at [`RIP`].
pub fn exit(reason: u32) -> RawExit {
    RawExit { reason, instruction_length: 2, rip: RIP, rflags: 2, ..RawExit::default() }
}

/// An exit with registers.
pub fn with(mut exit: RawExit, registers: &[(Gpr, u64)]) -> RawExit {
    let mut values = Registers::default();
    for (register, value) in registers {
        values.set(*register, *value);
    }
    exit.registers = values;
    exit
}

pub fn wrmsr(msr: u32, value: u64) -> RawExit {
    with(exit(32), &[(Gpr::Rcx, msr.into()), (Gpr::Rax, value & 0xffff_ffff), (Gpr::Rdx, value >> 32)])
}

pub fn rdmsr(msr: u32) -> RawExit {
    with(exit(31), &[(Gpr::Rcx, msr.into())])
}

/// A PMI while the guest accepts interrupts or not.
pub fn pmi(rflags: u64) -> RawExit {
    RawExit { qualification: PMI_VECTOR, instruction_length: 0, rflags, ..exit(1) }
}

/// WRMSRs that switch the APIC to x2APIC mode, on, with this LVTPC.
pub fn apic_with_lvtpc(entry: u64) -> [RawExit; 3] {
    [wrmsr(0x1b, 0xfee0_0d00), wrmsr(0x80f, 0x1ff), wrmsr(0x834, entry)]
}

pub const GP: Interruption = Interruption::exception_with_code(13);
pub const UD: Interruption = Interruption::exception(6);
