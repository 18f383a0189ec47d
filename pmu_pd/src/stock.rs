//! A kernel without the PMU extension: the MSR system calls of the SDK's configuration *benchmark*.
//!
//! They take no capability. Any protection domain of the system may program the PMU by them and halt the kernel: that
//! none but this one does is a convention.

use crate::{Server, regions};
use core::cell::Cell;
use pmu_api::Mode;
use pmu_core::msr_port::{Cpuid, MsrPort, Msrs};
use pmu_core::{Domain, PmuPort, PortError};
use sel4_microkit::msr;

/// The MSR system calls.
#[derive(Debug)]
pub struct SystemCalls;

impl Msrs for SystemCalls {
    fn read(&mut self, number: u32) -> Result<u64, PortError> {
        msr::read(number).map_err(|_| PortError::ILLEGAL_OPERATION)
    }

    fn write(&mut self, number: u32, value: u64) -> Result<(), PortError> {
        msr::write(number, value).map_err(|_| PortError::ILLEGAL_OPERATION)
    }
}

/// The server, over what `wrap` makes of the port. There are no contexts to switch: the first VM of the policy that wants
/// a PMU, by its mode and its version, has it, and the others are in mode off, as all are on a kernel without the calls.
pub fn server<P: PmuPort>(wrap: impl Fn(MsrPort<SystemCalls>) -> P) -> Server<P> {
    let owner = Cell::new(None);
    let domain = Domain::restricted(
        regions::policy(),
        regions::update(),
        regions::statistics(),
        |vm| {
            if !msr::AVAILABLE || owner.get().is_some() {
                vm.mode = Mode::Off;
            } else if vm.mode != Mode::Off && vm.wanted.version != Some(0) {
                owner.set(Some(vm.channel));
            }
        },
        |channel| wrap(MsrPort::new((owner.get() == Some(channel)).then_some(SystemCalls), cpuid())),
    );
    Server::serving(domain)
}

/// CPUID leaves (SDM volume 2A, CPUID).
const FEATURES: u32 = 1;
const PERFORMANCE: u32 = 0xA;

fn cpuid() -> Cpuid {
    use core::arch::x86_64::{__cpuid, __get_cpuid_max};
    let (highest, _) = __get_cpuid_max(0);
    let leaf_a = if highest < PERFORMANCE {
        [0; 4]
    } else {
        let leaf = __cpuid(PERFORMANCE);
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
    };
    Cpuid { leaf_1_ecx: __cpuid(FEATURES).ecx, leaf_a }
}
