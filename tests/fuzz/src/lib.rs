//! What the fuzz targets share: a context that holds the hardware's rules, and a policy.

use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry, RegionCells};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

/// A VCPU's PMU context of Ice Lake's size that panics when a value reaches it that must not: one that the
/// hardware would refuse, or one that the policy of [`domain`] forbids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub registers: BTreeMap<u32, u64>,
}

/// The events that may count: instructions and branches.
const PERMITTED: [u64; 2] = [0x00C0, 0x00C4];

impl PmuPort for Context {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let leaf_a = [5 | 8 << 8 | 48 << 16 | 8 << 24, 0, 0xF, 4 | 48 << 5 | 1 << 15];
        Ok(RawGeometry { leaf_a, perf_capabilities: 1 << 13, flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE | RawGeometry::SELECTS_TRANSACTIONS })
    }

    fn set_mode(&mut self, _: KernelMode) -> Result<(), PortError> {
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        assert!(matches!(msr, 0x309..=0x30C | 0x38E | 0x38F | 0x4C1..=0x4C8), "{msr:#x} is read");
        Ok(self.registers.get(&msr).copied().unwrap_or(0))
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let accepted = match msr {
            0x186..=0x18D => 0xFFDF_FFFF,
            0x38D => 0x0BB0,
            0x38E | 0x38F => 0xF_0000_00FF,
            0x309..=0x30C | 0x4C1..=0x4C8 => 0xFFFF_FFFF_FFFF,
            _ => panic!("{msr:#x} is written"),
        };
        assert_eq!(value & !accepted, 0, "{msr:#x} = {value:#x}");
        let counts = matches!(msr, 0x186..=0x18D) && value >> 22 & 1 != 0;
        assert!(!counts || PERMITTED.contains(&(value & 0xFFFF)), "{value:#x} counts");
        self.registers.insert(msr, value);
        Ok(())
    }
}

/// Two VMs (channels 1 and 2) and a manager (channel 9).
const POLICY: &str = "manager_channel = 9
[[vm]]
name = \"a\"
channel = 1
pmi_limit = { count = 2, cycles = 100 }
[vm.filter]
action = \"allow\"
events = [\"instructions\", \"branches\"]
fixed = [1, 2]
[[vm]]
name = \"b\"
channel = 2
version = 4
[vm.filter]
action = \"allow\"
events = [\"instructions\"]
";

/// The binary policy that the targets use.
pub fn policy() -> Vec<u64> {
    pmu_policy::compile(POLICY).expect("the policy is valid").words
}

/// A region that lives for ever.
pub fn region(words: Vec<u64>) -> &'static [AtomicU64] {
    words.into_iter().map(AtomicU64::new).collect::<Vec<_>>().leak()
}

/// A domain over `policy`, with no memory of earlier inputs.
pub fn domain<'a>(
    policy: &'a [AtomicU64],
    update: &'a [AtomicU64],
    statistics: &'a RegionCells,
) -> Domain<'a, Context> {
    Domain::new(policy, update, statistics, |_| Context::default())
}
