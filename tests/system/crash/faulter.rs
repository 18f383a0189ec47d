//! Faults in the way that the call asks for.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use sel4_abi::numbers::syscall;
use sel4_microkit::{Channel, Handler, Infallible, MessageInfo, protection_domain};

/// A capability address beyond the CNode's 2^10 slots.
const NOWHERE: u64 = 0x1234;

struct Faulter;

#[protection_domain(stack_size = 0x4000)]
fn init() -> impl Handler {
    Faulter
}

impl Handler for Faulter {
    type Error = Infallible;

    fn protected(&mut self, _: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        match call.label() {
            0 => return Ok(MessageInfo::new(1, 0)),
            // SAFETY: nothing is mapped there, and that is the point.
            1 => unsafe { core::ptr::without_provenance_mut::<u64>(8).write_volatile(1) },
            // SAFETY: the instruction raises #UD.
            2 => unsafe { asm!("ud2") },
            // SAFETY: the address is not canonical: #GP.
            3 => unsafe { asm!("mov {0}, [{0}]", inout(reg) 1_u64 << 63 => _) },
            4 => drop(black_box(deeper(0))),
            // There is no capability at that address.
            5 => system_call(syscall::RECV, NOWHERE),
            // The kernel has no such system call.
            6 => system_call(-1000, 0),
            label => panic!("no fault has the number {label}"),
        }
        panic!("no fault");
    }
}

/// Uses more stack than there is.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let here = black_box([depth; 16]);
    if black_box(depth) == u64::MAX { 0 } else { deeper(depth + 1) + black_box(here)[0] }
}

fn system_call(number: i64, capability: u64) {
    // SAFETY: it faults, and nothing after it runs.
    unsafe {
        asm!("mov r14, rsp", "syscall", "mov rsp, r14", in("rdx") number, in("rdi") capability, in("rsi") 0,
            out("rcx") _, out("r11") _, out("r14") _);
    }
}
