//! A Linux program for the benchmark: `work WARMUP TURNS` does the benchmark's work of so many turns, the first ones for
//! nothing, and prints `linux | work | CYCLES CHECKSUM`, with the ticks of the time-stamp counter that TURNS took. Before
//! and after them it writes to the port of marks (docs/architecture.md, "The simulated machine").

#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, unused_imports, reason = "it has no tests and no main function"))]

#[path = "../../../guest/src/workload.rs"]
mod workload;

use core::arch::{asm, x86_64::_rdtsc};
use core::fmt::{self, Write};

/// A port that no device of a guest has.
const MARK: u16 = 0xf5;

/// System calls.
const WRITE: usize = 1;
const EXIT: usize = 60;
const IOPERM: usize = 173;

fn system_call(number: usize, arguments: [usize; 3]) -> usize {
    let [a, b, c] = arguments;
    let result;
    // SAFETY: the callers pass numbers, and addresses of memory that lives during the call.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, lateout("rcx") _,
            lateout("r11") _);
    }
    result
}

fn mark() {
    // SAFETY: the port is granted, and the VMM takes no write of it.
    unsafe { asm!("out dx, al", in("dx") MARK, in("al") 0u8, options(nomem, nostack, preserves_flags)) };
}

fn now() -> u64 {
    // SAFETY: reads the time-stamp counter, which Linux lets programs do.
    unsafe { _rdtsc() }
}

/// Standard output.
struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        system_call(WRITE, [1, text.as_ptr() as usize, text.len()]);
        Ok(())
    }
}

/// The number in an argument of the program.
///
/// # Safety
/// `argument` is null, or a string as Linux passes it.
unsafe fn number(mut argument: *const u8) -> Option<u64> {
    let mut number = None;
    while !argument.is_null() {
        // SAFETY: within the string or its end.
        let byte = unsafe { *argument };
        match byte {
            0 => return number,
            b'0'..=b'9' => {
                let before: u64 = number.unwrap_or(0);
                number = Some(before.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?);
            }
            _ => return None,
        }
        // SAFETY: the byte was not the end.
        argument = unsafe { argument.add(1) };
    }
    None
}

fn run(warmup: Option<u64>, turns: Option<u64>) -> Result<(), &'static str> {
    let (Some(warmup), Some(turns)) = (warmup, turns) else { return Err("it takes two numbers") };
    if system_call(IOPERM, [usize::from(MARK), 1, 1]) != 0 {
        return Err("ioperm was refused");
    }
    workload::mix(warmup);
    mark();
    let start = now();
    let checksum = workload::mix(turns);
    let cycles = now() - start;
    mark();
    // A writer that never fails.
    let _ = writeln!(Output, "linux | work | {cycles} {checksum}");
    Ok(())
}

/// What Linux starts: the stack holds the number of arguments, then their addresses, of which the first is the name.
#[cfg(not(test))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    core::arch::naked_asm!("mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym main)
}

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack as Linux made it.
    let [warmup, turns] = unsafe {
        let count = *stack;
        let argument = |i: usize| if i < count { *stack.add(1 + i) as *const u8 } else { core::ptr::null() };
        [number(argument(1)), number(argument(2))]
    };
    let code = run(warmup, turns).map_or_else(
        |why| {
            let _ = writeln!(Output, "work: {why}");
            2
        },
        |()| 0,
    );
    system_call(EXIT, [code, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    system_call(EXIT, [3, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}
