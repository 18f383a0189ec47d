//! A kernel without the PMU extension: the same virtual machine, over `vmm_core::stock`.

use crate::console::Console;
use crate::link::PolicyDomain;
use core::cell::Cell;
use sel4_microkit::msr;
use vmm_core::boot::Start;
use vmm_core::stock::{State, StockLink, StockVcpu};
use vmm_core::{PmuLink, Vcpu};

/// Runs the guest and says what this kernel cannot do.
pub fn run_on<V: Vcpu, L: PmuLink>(console: &mut Console, vcpu: V, link: L, guest: &Start) {
    if !msr::AVAILABLE {
        console.line(format_args!(
            "vmm: no PMU for the guest: this SDK configuration's kernel has no MSR system calls; use benchmark"
        ));
    }
    let state = Cell::new(State::default());
    crate::run_vm(console, StockVcpu::new(vcpu, PolicyDomain, &state), StockLink::new(link, &state), guest);
}
