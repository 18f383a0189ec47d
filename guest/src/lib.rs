//! Bare-metal guests: workloads that exercise the vPMU.
//!
//! A guest is one ELF file that starts at [`guest!`]'s function in 64-bit mode with the first 4 GiB mapped one
//! to one (vmm_core's `boot`). It prints on COM1 and ends by the exit port: 0 when all it found is right.
#![no_std]

pub mod apic;
mod console;
pub mod cpu;
pub mod interrupts;
mod memory;
pub mod pmu;
pub mod sampler;
mod start;

pub use console::{exit, print};
pub use start::STACK_BYTES;

/// Prints a line on COM1.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::print(::core::format_args!("{}\n", ::core::format_args!($($arg)*))) };
}

/// Makes `main` the guest's program: `fn main() -> bool`, whether all that it found is right. The exit code is 0
/// or 1, and 2 after a panic.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn guest_main() -> ! {
            let right: bool = $main();
            $crate::exit(if right { 0 } else { 1 })
        }

        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::println!("@panic {info}");
            $crate::exit(2)
        }
    };
}
