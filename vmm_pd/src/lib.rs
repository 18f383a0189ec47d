//! The virtual machine monitor protection domain: loads the guest, runs it, and reports what it did.

#![no_std]

mod console;
pub mod link;
mod regions;
pub mod serial;
#[cfg(stock_kernel)]
mod stock;
mod vcpu;

use console::Console;
use link::PolicyDomain;
use pmu_api::{Request, Statistic};
use vcpu::MicrokitVcpu;
use vmm_core::boot::Start;
use vmm_core::seam::{Event, Recorder};
use vmm_core::{PmuLink, Vcpu, Vm, loader};

/// What is printed while the guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// What the guest says.
    Nothing,
    /// Every exit.
    Exits,
    /// Every exit, and what crosses the VMM's seams (`vmm_core::seam`).
    Seams,
}

/// Runs the guest until it stops and reports on the serial line; with what `trace` says.
pub fn run(trace: Trace) {
    run_guest(&mut Console::new(trace != Trace::Nothing), trace);
}

fn run_guest(console: &mut Console, trace: Trace) {
    let mut ram = regions::guest_ram();
    let memory = ram.bytes();
    let mut start = match loader::load(regions::guest_image(), memory) {
        Ok(start) => start,
        Err(error) => return console.line(format_args!("@stop code=2 the guest is refused: {error}")),
    };
    // A replay runs on another machine.
    start.tsc_hz = if trace == Trace::Seams { None } else { vcpu::tsc_hz() };
    let vcpu = MicrokitVcpu::new(ram);
    if trace == Trace::Seams {
        // Each has its own line.
        let [mut vcpu_lines, mut link_lines] = [Console::new(false), Console::new(false)];
        let vcpu = Recorder::new(vcpu, |event: &Event| vcpu_lines.line(format_args!("{event}")));
        let link = Recorder::new(PolicyDomain, |event: &Event| link_lines.line(format_args!("{event}")));
        run_on(console, vcpu, link, &start);
    } else {
        run_on(console, vcpu, PolicyDomain, &start);
    }
}

#[cfg(not(stock_kernel))]
use run_vm as run_on;
#[cfg(stock_kernel)]
use stock::run_on;

fn run_vm<V: Vcpu, L: PmuLink>(console: &mut Console, mut vcpu: V, link: L, guest: &Start) {
    let mut vm = match Vm::new(link) {
        Ok(vm) => vm,
        Err(error) => return console.line(format_args!("@stop code=2 no PMU: {error}")),
    };
    let start = vcpu::now();
    let stop = vm.run(&mut vcpu, console, guest);
    let end = vcpu::now();
    console.flush();
    console.line(format_args!("@time cycles={}", end.wrapping_sub(start)));
    // What the kernel counted comes into the region when somebody asks.
    PolicyDomain.call(&Request::Statistics { first: 0 }.encode());
    if let Some(values) = regions::statistics() {
        console.text(format_args!("@policy"));
        for (statistic, value) in Statistic::ALL.iter().zip(values).filter(|(_, value)| *value != 0) {
            console.text(format_args!(" {statistic:?}={value}"));
        }
        console.text(format_args!("\n"));
    }
    console.text(format_args!("{}", vm.report(stop)));
}
