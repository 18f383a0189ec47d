//! Programs the guest's counters and cannot run the guest.

#![no_std]
#![no_main]

mod attempts;

use core::arch::x86_64::__cpuid;
use sel4_microkit::vcpu::pmu::{Mode, VcpuPmu};
use sel4_microkit::{Channel, Error, Handler, Infallible, MessageInfo, protection_domain, set_mr};

const VMM: Channel = Channel::new(5);
const PMU: VcpuPmu = VcpuPmu::new(VMM);
/// SDM volume 4, table 2-2; IA32_A_PMC0 is the full-width alias.
const IA32_PERFEVTSEL0: u32 = 0x186;
const IA32_A_PMC0: u32 = 0x4c1;
const IA32_PERF_GLOBAL_CTRL: u32 = 0x38f;
/// INST_RETIRED.ANY, USR, OS, EN (SDM 20.2.1.1).
const COUNT_INSTRUCTIONS: u64 = 0x43_00c0;
/// Bits 63:32 of a selector are reserved.
const RESERVED: u64 = 1 << 63;
/// Not a PMU MSR: IA32_EFER.
const IA32_EFER: u32 = 0xc000_0080;

struct Pmu;

#[protection_domain]
fn init() -> impl Handler {
    assert!(attempts::no_pmu_but(Some(VMM)));
    assert!(attempts::no_vcpu());
    if let Err(error) = program() {
        panic!("refused: {error:?}");
    }
    Pmu
}

/// Lets the guest's first counter count retired instructions.
fn program() -> Result<(), Error> {
    let geometry = PMU.get_geometry()?;
    let leaf = __cpuid(0xa);
    assert_eq!((geometry.eax, geometry.ebx, geometry.ecx), (leaf.eax, leaf.ebx, leaf.ecx));
    assert_eq!(geometry.edx, leaf.edx);
    PMU.set_mode(Mode::Direct)?;
    PMU.write_msr(IA32_PERFEVTSEL0, COUNT_INSTRUCTIONS)?;
    assert!(PMU.write_msr(IA32_PERFEVTSEL0, COUNT_INSTRUCTIONS | RESERVED).is_err());
    assert!(PMU.write_msr(IA32_EFER, 0).is_err() && PMU.read_msr(IA32_EFER).is_err());
    assert_eq!(PMU.read_msr(IA32_PERFEVTSEL0)?, COUNT_INSTRUCTIONS);
    PMU.write_msr(IA32_A_PMC0, 0)?;
    PMU.write_msr(IA32_PERF_GLOBAL_CTRL, 1)
}

impl Handler for Pmu {
    type Error = Infallible;

    /// Answers with the guest's first counter.
    fn protected(&mut self, channel: Channel, _: MessageInfo) -> Result<MessageInfo, Infallible> {
        assert_eq!(channel, VMM);
        let count = PMU.read_msr(IA32_A_PMC0);
        set_mr(0, count.unwrap_or(u64::MAX));
        Ok(MessageInfo::new(u64::from(count.is_err()), 1))
    }
}
