//! The policy domain with a port on the modelled PMU instead of the VCPU capability.

#![no_std]
#![no_main]

#[path = "../../../pmu_pd/src/regions.rs"]
mod regions;

use pmu_api::Message;
use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry};
use pmu_model::{Cpuid0A, Geometry, PerfCapabilities, Pmu, msr};
use sel4_microkit::{
    Channel, Handler, Infallible, MessageInfo, protection_domain, with_msg_regs, with_msg_regs_mut,
};

/// CPUID leaf 0xA of the simulated machine's default CPU model, on which traces are recorded: version 5, eight
/// general-purpose and four fixed counters of 48 bits, no any-thread.
const LEAF: Cpuid0A =
    Cpuid0A { eax: 5 | 8 << 8 | 48 << 16 | 8 << 24, ebx: 0, ecx: 0xf, edx: 4 | 48 << 5 | 1 << 15 };

/// A VCPU's PMU context that is a modelled PMU. Nothing counts: no guest runs.
struct ModelPort(Pmu);

impl ModelPort {
    fn new(_: u8) -> Self {
        match Geometry::from_cpuid(LEAF) {
            Ok(geometry) => Self(Pmu::new(geometry, Some(PerfCapabilities(PerfCapabilities::FW_WRITE)))),
            Err(error) => panic!("{error}"),
        }
    }

    /// What the policy domain writes, hardware must take.
    fn wrmsr(&mut self, msr: u32, value: u64) {
        if let Err(error) = self.0.wrmsr(msr, value) {
            panic!("the hardware refuses {msr:#x} = {value:#x}: {error:?}");
        }
    }

    fn rdmsr(&self, msr: u32) -> u64 {
        match self.0.rdmsr(msr) {
            Ok(value) => value,
            Err(error) => panic!("the hardware refuses to read {msr:#x}: {error:?}"),
        }
    }
}

impl PmuPort for ModelPort {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let Cpuid0A { eax, ebx, ecx, edx } = LEAF;
        Ok(RawGeometry {
            leaf_a: [eax, ebx, ecx, edx],
            perf_capabilities: PerfCapabilities::FW_WRITE,
            flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE,
        })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        Ok(self.rdmsr(msr))
    }

    fn write(&mut self, number: u32, value: u64) -> Result<(), PortError> {
        if number == msr::IA32_PERF_GLOBAL_STATUS {
            // Status is read-only: the others are reset, these are set (SDM vol. 3B, 20.2.4.2).
            let others = self.rdmsr(number) & !value;
            self.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_RESET, others);
            self.wrmsr(msr::IA32_PERF_GLOBAL_STATUS_SET, value);
        } else {
            self.wrmsr(number, value);
        }
        Ok(())
    }
}

struct Server {
    domain: Domain<'static, ModelPort>,
}

#[protection_domain(stack_size = 0x10000)]
fn init() -> impl Handler {
    let domain = Domain::new(regions::policy(), regions::update(), regions::statistics(), ModelPort::new);
    if let Some(error) = domain.policy_error() {
        panic!("the policy is refused: {error:?}");
    }
    Server { domain }
}

impl Handler for Server {
    type Error = Infallible;

    fn protected(&mut self, channel: Channel, call: MessageInfo) -> Result<MessageInfo, Infallible> {
        let request = with_msg_regs(|words| {
            Message::received(call.label(), words.get(..call.count()).unwrap_or(words))
        });
        // Channels are below 62.
        let channel = channel.index().to_le_bytes()[0];
        let reply = self.domain.handle(channel, &request, regions::now());
        let words = reply.words();
        with_msg_regs_mut(|registers| {
            registers.iter_mut().zip(words).for_each(|(register, word)| *register = *word);
        });
        Ok(MessageInfo::new(reply.label(), words.len()))
    }
}
