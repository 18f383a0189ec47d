//! The virtual machine monitor protection domain: loads the guest, runs it, and reports what it did.

#![no_std]

mod console;
mod link;
mod regions;
pub mod serial;
mod vcpu;

use console::Console;
use link::PolicyDomain;
use pmu_api::Statistic;
use vcpu::MicrokitVcpu;
use vmm_core::{Vcpu, Vm, boot, elf};

/// Runs the guest until it stops and reports on the serial line; `trace` prints every exit.
pub fn run(trace: bool) {
    run_guest(&mut Console::new(trace));
}

fn run_guest(console: &mut Console) {
    let mut ram = regions::guest_ram();
    let memory = ram.bytes();
    if memory.len() < boot::LEAST_MEMORY {
        return console
            .line(format_args!("@stop code=2 guest_ram is smaller than {:#x} bytes", boot::LEAST_MEMORY));
    }
    let entry = match elf::load(regions::guest_image(), memory) {
        Ok(entry) => entry,
        Err(error) => return console.line(format_args!("@stop code=2 the guest is refused: {error}")),
    };
    boot::write_tables(memory);
    let size = memory.len() as u64;
    let mut vm = match Vm::new(PolicyDomain) {
        Ok(vm) => vm,
        Err(error) => return console.line(format_args!("@stop code=2 no PMU: {error}")),
    };
    let mut vcpu = MicrokitVcpu::new(ram);
    let start = vcpu.now();
    let stop = vm.run(&mut vcpu, console, entry, size);
    let end = vcpu.now();
    console.flush();
    console.line(format_args!("@time cycles={}", end.wrapping_sub(start)));
    if let Some(values) = regions::statistics() {
        console.text(format_args!("@policy"));
        for (statistic, value) in Statistic::ALL.iter().zip(values).filter(|(_, value)| *value != 0) {
            console.text(format_args!(" {statistic:?}={value}"));
        }
        console.text(format_args!("\n"));
    }
    console.text(format_args!("{}", vm.report(stop)));
}
