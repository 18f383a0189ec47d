//! Bare-metal guests: workloads that exercise the vPMU.
//!
//! A guest is one ELF file that starts at [`guest!`]'s function in 64-bit mode with the first 4 GiB mapped one
//! to one (vmm_core's `boot`), or a Multiboot kernel ([`multiboot_guest!`]). It prints on COM1 and ends by the exit
//! port: 0 when all it found is right.
#![no_std]

pub mod apic;
mod console;
pub mod cpu;
pub mod interrupts;
pub mod known;
pub mod latency;
mod memory;
pub mod multiboot;
pub mod parameters;
pub mod pmu;
pub mod sampler;
mod start;
pub mod workload;

pub use console::{exit, print};
pub use start::{STACK_BYTES, start};

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
        /// The entry point of the ELF file.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn _start() -> ! {
            ::core::arch::naked_asm!(
                "lea rax, [rip + {main}]",
                "jmp {start}",
                main = sym guest_main,
                start = sym $crate::start,
            )
        }

        extern "C" fn guest_main() -> ! {
            let right: bool = $main();
            $crate::exit(if right { 0 } else { 1 })
        }

        $crate::panic_handler!();
    };
}

/// What guests do when they panic.
#[doc(hidden)]
#[macro_export]
macro_rules! panic_handler {
    () => {
        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::println!("@panic {info}");
            $crate::exit(2)
        }
    };
}
