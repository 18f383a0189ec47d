//! The virtual machine monitor protection domain: loads the guest, runs it, and reports what it did.

#![no_std]

mod console;
mod end_request;
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
    let console = &mut Console::new(trace != Trace::Nothing);
    let Some((vcpu, mut start)) = load(console) else { return };
    if trace == Trace::Seams {
        // A replay runs on another machine.
        start.tsc_hz = None;
        console.line(format_args!("{}", Event::start(&start)));
        // Each has its own line.
        let [mut vcpu_lines, mut link_lines] = [Console::new(false), Console::new(false)];
        let vcpu = Recorder::new(vcpu, |event: &Event| vcpu_lines.line(format_args!("{event}")));
        let link = Recorder::new(PolicyDomain, |event: &Event| link_lines.line(format_args!("{event}")));
        run_on(console, vcpu, link, &start);
    } else {
        run_on(console, vcpu, PolicyDomain, &start);
    }
}

/// As [`run`] without a trace; `watch` sees what crosses the seam to the virtual CPU.
pub fn run_watched(watch: impl FnMut(&Event)) {
    let console = &mut Console::new(false);
    let Some((vcpu, start)) = load(console) else { return };
    run_on(console, Recorder::new(vcpu, watch), PolicyDomain, &start);
}

/// Puts the guest into its memory; nothing, and a line that says why, if it is refused.
fn load(console: &mut Console) -> Option<(MicrokitVcpu, Start)> {
    let mut ram = regions::guest_ram();
    match loader::load(regions::guest_image(), ram.bytes()) {
        Ok(mut start) => {
            start.tsc_hz = vcpu::tsc_hz();
            Some((MicrokitVcpu::new(ram), start))
        }
        Err(error) => {
            console.line(format_args!("@stop code=2 the guest is refused: {error}"));
            None
        }
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
    // What the kernel counted comes into the region when somebody asks; who has none asks nothing, of a domain that may be
    // gone.
    if regions::statistics().is_some() {
        PolicyDomain.call(&Request::Statistics { first: 0 }.encode());
    }
    if let Some(values) = regions::statistics() {
        console.text(format_args!("@policy"));
        for (statistic, value) in Statistic::ALL.iter().zip(values).filter(|(_, value)| *value != 0) {
            console.text(format_args!(" {statistic:?}={value}"));
        }
        console.text(format_args!("\n"));
    }
    console.text(format_args!("{}", vm.report(stop)));
}
