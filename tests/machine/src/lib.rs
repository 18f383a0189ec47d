//! What the test kernels share: start in long mode, console, traps, and thin wrappers of instructions.
//!
//! Memory is mapped one to one below 4 GiB, with access for ring 3. A kernel is a function
//! `fn(&str)`, given the command line, in [`kernel!`].

#![no_std]

pub mod boot;
pub mod console;
pub mod cpu;
mod memory;
pub mod traps;

/// Names the function that the start code calls; the machine shuts down when it returns.
#[macro_export]
macro_rules! kernel {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn kernel_main(information: u64) -> ! {
            $crate::boot::start(information, $main)
        }

        // `--all-targets` compiles even a freestanding program with the test harness, which has its own.
        #[cfg(not(test))]
        #[panic_handler]
        fn panic(information: &core::panic::PanicInfo) -> ! {
            $crate::boot::panicked(information)
        }
    };
}
