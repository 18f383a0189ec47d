//! Runs the guest and cannot program its counters; asks the other end what they counted.

#![no_std]
#![no_main]

mod attempts;
#[path = "../release/console.rs"]
mod console;
#[path = "../vcpu/machine.rs"]
mod machine;
mod program;

use console::Console;
use core::fmt::Write;
use machine::{Ram, start_in_64_bit_mode};
use program::{CODE, INSTRUCTIONS, program};
use sel4_microkit::ioport::IoPort;
use sel4_microkit::vcpu::{Completed, EntryState, Return, Vcpu, enter};
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, MessageInfo, get_mr, protection_domain};

const CONSOLE: IoPort = IoPort::new(0);
const VCPU: Vcpu = Vcpu::new(0);
const PMU: Channel = Channel::new(3);
const OTHER: Channel = Channel::new(5);
/// HLT exiting, secondary controls (SDM 25.6.2).
const PRIMARY_CONTROLS: u64 = 1 << 7 | 1 << 31;
/// SDM appendix C.
const EXIT_VMCALL: u64 = 18;
const ROUNDS: u64 = 100;

struct Vmm(Console);

#[protection_domain]
fn init() -> impl Handler {
    let mut console = Console(CONSOLE);
    let _ = writeln!(console, "first line");
    assert!(attempts::no_pmu_but(None));
    let ram = Ram::new();
    ram.map_identity();
    ram.load(program());
    start_in_64_bit_mode(VCPU).expect("the kernel takes every field of a 64-bit guest");
    let mut state = EntryState { primary_controls: PRIMARY_CONTROLS, ..EntryState::default() };
    let mut notified = None;
    let mut rounds = 0;
    while rounds < ROUNDS {
        state.rip = CODE as u64;
        let before = counted();
        match enter(&mut state, Completed::Nothing) {
            Return::Exit(exit) => assert_eq!(exit.reason, EXIT_VMCALL),
            // Pending since the other's start, so that it comes before the first instruction.
            Return::Notified(channels) => {
                assert!(rounds == 0 && notified.is_none());
                assert_eq!((before, counted()), (0, 0));
                notified = Some(channels);
                continue;
            }
        }
        rounds += 1;
        assert_eq!((before, counted()), ((rounds - 1) * INSTRUCTIONS, rounds * INSTRUCTIONS));
    }
    let counts = "instructions a round counted, and none of this domain's";
    let _ = writeln!(console, "vmm: {ROUNDS} rounds, {INSTRUCTIONS} {counts}");
    assert!(notified.is_some_and(|channels| channels.contains(OTHER)));
    let _ = writeln!(console, "authority: passed");
    Vmm(console)
}

/// The guest's first counter.
fn counted() -> u64 {
    assert_eq!(PMU.pp_call(MessageInfo::default()).label(), 0);
    get_mr(0)
}

impl Handler for Vmm {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        let _ = writeln!(self.0, "authority: FAILED, notified by {}", channels.display());
        Ok(())
    }
}
