//! The virtual machine monitor protection domain: loads the guest, runs it, and reports what it did.

#![no_std]
#![no_main]

mod console;
mod link;
mod regions;
mod vcpu;

use console::Console;
use link::PolicyDomain;
use pmu_api::Statistic;
use sel4_microkit::{Handler, NullHandler, protection_domain};
use vcpu::MicrokitVcpu;
use vmm_core::{Vm, boot, elf};

/// Runs the guest, then waits for ever: a guest does not run twice.
#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    run_guest(&mut Console::new());
    NullHandler::new()
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
    let stop = vm.run(&mut vcpu, console, entry, size);
    console.flush();
    if let Some(values) = regions::statistics() {
        console.text(format_args!("@policy"));
        for (statistic, value) in Statistic::ALL.iter().zip(values).filter(|(_, value)| *value != 0) {
            console.text(format_args!(" {statistic:?}={value}"));
        }
        console.text(format_args!("\n"));
    }
    console.text(format_args!("{}", vm.report(stop)));
}
