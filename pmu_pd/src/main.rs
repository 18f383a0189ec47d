//! The PMU policy protection domain, on the VCPU capabilities with the PMU right, or on the MSR system calls of a kernel
//! without the extension.

#![no_std]
#![no_main]

use pmu_core::{Domain, PmuPort};
use sel4_microkit::{Handler, debug_println, protection_domain};

#[protection_domain(stack_size = 0x8000)]
fn init() -> impl Handler {
    #[cfg(not(stock_kernel))]
    let server = pmu_pd::Server::new(pmu_pd::port::VcpuPort::new);
    #[cfg(stock_kernel)]
    let server = pmu_pd::stock::server(|port| port);
    match server.domain().policy_error() {
        Some(error) => debug_println!("pmu: the policy is refused, no VM can count: {error:?}"),
        None => report(server.domain()),
    }
    server
}

/// A line for each VM: what it gets, or why nothing.
fn report(domain: &Domain<'static, impl PmuPort>) {
    for vm in domain.vms() {
        match vm.vpmu() {
            Ok(vpmu) => {
                let (mode, geometry) = (vpmu.mode(), vpmu.geometry());
                let (general, fixed) = (geometry.general_counters(), geometry.fixed_counters().count_ones());
                debug_println!(
                    "pmu: channel {}: {mode:?}, version {}, {general} + {fixed} counters",
                    vm.channel(),
                    geometry.version(),
                );
            }
            Err(reason) => debug_println!("pmu: channel {}: no vPMU: {reason:?}", vm.channel()),
        }
    }
}
