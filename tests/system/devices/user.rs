//! Looks at its memory, its ports and its interrupt.

#![no_std]
#![no_main]

use core::ptr::NonNull;
use sel4_microkit::ioport::IoPort;
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, debug_println, memory_region_symbol, protection_domain, var,
};

/// The channel to the parent of the child that crashes.
const PARENT: Channel = Channel::new(0);
const PAGE: usize = 0x1000;
/// Where the processor starts, in the ROM's page: a far jump.
const RESET: usize = 0xff0;
const FAR_JUMP: u8 = 0xea;
/// The file that the region is filled from.
const FILE: &[u8] = include_bytes!("filled.txt");
/// Interrupts to wait for.
const TICKS: u32 = 10;

struct User {
    timer: Channel,
    ticks: u32,
    child_crashed: bool,
    passed: bool,
}

fn read(start: NonNull<u8>, offset: usize) -> u8 {
    // SAFETY: the callers stay inside the region that begins there and is mapped readable.
    unsafe { start.add(offset).read_volatile() }
}

fn look_at_memory() {
    let rom = memory_region_symbol!(rom_vaddr: *mut u8);
    assert_eq!(*var!(rom_paddr: usize = 0), 0xff000);
    assert_eq!(read(rom, RESET), FAR_JUMP);

    let zeroed = memory_region_symbol!(zeroed_vaddr: *mut u8);
    let size = *var!(zeroed_size: usize = 0);
    assert_eq!(size, 0x80_0000);
    assert!((0..size).step_by(PAGE / 8).all(|offset| read(zeroed, offset) == 0));

    let filled = memory_region_symbol!(filled_vaddr: *mut u8);
    assert_eq!((*var!(filled_size: usize = 0), *var!(prefill_size: usize = 0)), (3 * PAGE, FILE.len()));
    let expected = |offset| FILE.get(offset).copied().unwrap_or(0);
    assert!((0..3 * PAGE).all(|offset| read(filled, offset) == expected(offset)));
}

/// Programs the timer (8254 channel 0, mode 2) to interrupt 1,000 times a second.
fn start_timer() {
    let ports = IoPort::new(*var!(ports_id: usize = 0));
    let address = u16::try_from(*var!(ports_addr: usize = 0)).expect("a port has 16 bits");
    for (offset, value) in [(3, 0x34), (0, 0xa9), (0, 0x04)] {
        assert_eq!(ports.out8(address + offset, value), Ok(()));
    }
    assert!(ports.out8(address + 4, 0).is_err(), "a port outside the range");
}

#[protection_domain]
fn init() -> impl Handler {
    debug_println!("first line");
    look_at_memory();
    start_timer();
    User { timer: Channel::new(*var!(timer_id: usize = 0)), ticks: 0, child_crashed: false, passed: false }
}

impl Handler for User {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.child_crashed |= channels.contains(PARENT);
        if channels.contains(self.timer) {
            self.ticks += 1;
            assert_eq!(self.timer.irq_ack(), Ok(()));
        }
        if self.ticks >= TICKS && self.child_crashed && !self.passed {
            self.passed = true;
            debug_println!("devices: passed");
        }
        Ok(())
    }
}
