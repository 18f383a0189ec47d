//! Placeholder.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
machine_kernels::kernel!(kernel);
fn kernel(_line: &str) {
    machine_kernels::println!("speed");
}
