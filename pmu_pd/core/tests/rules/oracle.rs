//! Random sequences of accesses against an oracle that follows the manual and KVM's rules register by register: it
//! keeps one flat map of architectural registers, evaluates the filter's list itself, and knows nothing of the code.

use crate::common::{FakePort, filter, hardware};
use pmu_api::{Mode, Privilege};
use pmu_core::geometry::Wanted;
use pmu_core::policy::VmPolicy;
use pmu_core::vpmu::{Trouble, Written};
use pmu_core::{KernelMode, Vpmu};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// KVM's filter: DENY?, events (select | umask << 8), bitmap of fixed counters.
#[derive(Clone, Debug)]
struct List {
    deny: bool,
    events: Vec<u16>,
    fixed: u64,
}

impl List {
    fn event_counts(&self, selector: u64) -> bool {
        let key = (selector % 0x1_0000) as u16;
        let off_core = [0x01B7, 0x01BB, 0x012A, 0x012B].contains(&key);
        let listed = self.events.contains(&key);
        !off_core && if self.deny { !listed } else { listed }
    }

    fn fixed_counts(&self, i: u64) -> bool {
        let set = self.fixed / (1 << i) % 2 == 1;
        if self.deny { !set } else { set }
    }
}

#[derive(Clone, Debug)]
struct Setup {
    hardware_version: u32,
    hardware_general: u32,
    hardware_fixed: u32,
    full_width: bool,
    tsx: bool,
    version: u8,
    general: u8,
    fixed: u8,
    list: List,
}

/// The architectural registers as the guest sees them.
struct Oracle {
    setup: Setup,
    registers: BTreeMap<u32, u64>,
}

const GP: u64 = 0x4C1;

impl Oracle {
    fn new(setup: Setup) -> Self {
        let reset = (1_u64 << setup.general) - 1;
        let global = (0x38F, if setup.version == 0 { 0 } else { reset });
        Self { setup, registers: BTreeMap::from([global]) }
    }

    fn get(&self, msr: u64) -> u64 {
        *self.registers.get(&(msr as u32)).unwrap_or(&0)
    }

    fn put(&mut self, msr: u64, value: u64) -> Option<()> {
        self.registers.insert(msr as u32, value);
        Some(())
    }

    /// The counter in a range of MSRs, if the guest has it.
    fn index(&self, msr: u64, base: u64, count: u64) -> Option<u64> {
        (base..base + count).position(|m| m == msr).map(|i| i as u64)
    }

    fn general(&self, msr: u64, base: u64) -> Option<u64> {
        let count = if self.setup.version == 0 { 0 } else { u64::from(self.setup.general) };
        self.index(msr, base, count)
    }

    fn fixed_count(&self) -> u64 {
        if self.setup.version < 2 { 0 } else { u64::from(self.setup.fixed) }
    }

    fn counters(&self) -> u64 {
        ((1 << self.setup.general) - 1) + (((1 << self.fixed_count()) - 1) << 32)
    }

    /// `None` is #GP(0).
    fn write(&mut self, msr: u64, value: u64) -> Option<()> {
        let version = self.setup.version;
        let below = |bits: u32| value < 1 << bits;
        if version == 0 {
            return [0xC1, 0xC2, 0x186, 0x187].contains(&msr).then_some(());
        }
        if let Some(i) = self.general(msr, 0x186) {
            let mut allowed = 0xFFFF_FFFF - 0x20_0000;
            if self.setup.tsx {
                allowed += 1 << 32;
                allowed += if i == 2 { 1 << 33 } else { 0 };
            }
            return if value | allowed == allowed { self.put(msr, value) } else { None };
        }
        if let Some(i) = self.general(msr, 0xC1) {
            let low = value % (1 << 32);
            let extended = if low < 1 << 31 { low } else { low + 0xFFFF_0000_0000 };
            return self.put(GP + i, extended);
        }
        if let Some(i) = self.general(msr, 0x4C1).filter(|_| self.setup.full_width) {
            return if below(48) { self.put(GP + i, value) } else { None };
        }
        if self.index(msr, 0x309, self.fixed_count()).is_some() {
            return self.put(msr, value % (1 << 48));
        }
        if version < 2 {
            return None;
        }
        let flags_only = |allowed: u64| value | allowed == allowed;
        match msr {
            0x38D => {
                let ok = (0..16).all(|i| {
                    let field = value >> (4 * i) & 15;
                    if i < self.fixed_count() { field & 4 == 0 } else { field == 0 }
                });
                if ok { self.put(msr, value) } else { None }
            }
            0x38F if flags_only(self.counters()) => self.put(msr, value),
            0x390 if flags_only(self.counters() | 3 << 62) => {
                self.put(0x38E, self.get(0x38E) - (self.get(0x38E) & value))
            }
            0x391 if version >= 4 && flags_only(self.counters() | 3 << 62) => {
                self.put(0x38E, (self.get(0x38E) | value) % (1 << 62))
            }
            _ => None,
        }
    }

    fn read(&self, msr: u64) -> Option<u64> {
        let version = self.setup.version;
        if msr == 0x345 {
            return Some(if version > 0 && self.setup.full_width { 0x2000 } else { 0 });
        }
        if version == 0 {
            return [0xC1, 0xC2, 0x186, 0x187].contains(&msr).then_some(0);
        }
        if let Some(i) = self.general(msr, 0xC1) {
            return Some(self.get(GP + i));
        }
        let general = self.general(msr, 0x186).is_some();
        let wide = self.setup.full_width && self.general(msr, 0x4C1).is_some();
        if general || wide || self.index(msr, 0x309, self.fixed_count()).is_some() {
            return Some(self.get(msr));
        }
        match msr {
            _ if version < 2 => None,
            0x38D..=0x38F => Some(self.get(msr)),
            0x390 => Some(0),
            0x391 if version >= 4 => Some(0),
            0x392 if version >= 4 => Some(self.in_use()),
            _ => None,
        }
    }

    fn in_use(&self) -> u64 {
        let mut bits = 0;
        let mut pmi = false;
        for i in 0..8 {
            let selector = self.get(0x186 + i);
            bits += if selector & 0xFF != 0 { 1 << i } else { 0 };
            pmi |= selector & 0x10_0000 != 0;
        }
        for i in 0..4 {
            let field = self.get(0x38D) >> (4 * i) & 15;
            bits += if field & 3 != 0 { 1 << (32 + i) } else { 0 };
            pmi |= field & 8 != 0;
        }
        bits + if pmi { 1 << 63 } else { 0 }
    }

    fn rdpmc(&self, ecx: u32, cpl: u8, pe: bool, pce: bool) -> Option<u64> {
        if self.setup.version == 0 || (!pce && cpl > 0 && pe) {
            return None;
        }
        let (kind, index) = (ecx / 0x1_0000, u64::from(ecx % 0x1_0000));
        match kind {
            0 if index < u64::from(self.setup.general) => Some(self.get(GP + index)),
            0x4000 if index < self.fixed_count() => Some(self.get(0x309 + index)),
            _ => None,
        }
    }

    /// What each register of the hardware must hold.
    fn hardware(&self, msr: u32) -> u64 {
        let value = self.get(u64::from(msr));
        match msr {
            0x186..=0x18D if !self.setup.list.event_counts(value) => value & !(1 << 22),
            0x38D => (0..16)
                .filter(|&i| i < 4 && self.setup.list.fixed_counts(i))
                .fold(0, |bits, i| bits + (value >> (4 * i) & 15) * (1 << (4 * i))),
            _ => value,
        }
    }
}

#[derive(Clone, Debug)]
enum Access {
    Write(u32, u64),
    Read(u32),
    Rdpmc(u32, u8, bool, bool),
    /// The hardware counts: status bits and counters change by themselves.
    Overflow(u64),
}

fn setup() -> impl Strategy<Value = Setup> {
    let list = (any::<bool>(), prop::collection::vec(event(), 0..6), 0..16_u64);
    let list = list.prop_map(|(deny, events, fixed)| List { deny, events, fixed });
    (1..=5_u32, 1..=8_u32, 0..=4_u32, any::<bool>(), any::<bool>(), any::<[u8; 3]>(), list).prop_map(
        |(hardware_version, hardware_general, hardware_fixed, full_width, tsx, random, list)| {
            let versions = if hardware_version == 1 { 1 } else { hardware_version as u8 + 1 };
            let version = random[0] % versions;
            let hardware_fixed = if hardware_version >= 2 { hardware_fixed } else { 0 };
            Setup {
                hardware_version,
                hardware_general,
                hardware_fixed,
                full_width,
                tsx,
                version,
                general: random[1] % hardware_general as u8 + 1,
                fixed: random[2] % (hardware_fixed as u8 + 1),
                list,
            }
        },
    )
}

fn event() -> impl Strategy<Value = u16> {
    prop_oneof![prop::sample::select(vec![0x00C0, 0x00C4, 0x003C, 0x412E, 0x01B7, 0x81D0]), any::<u16>()]
}

fn msr() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0x186..0x190_u32,
        2 => 0xC0..0xCB_u32,
        2 => 0x4C0..0x4CB_u32,
        2 => 0x308..0x30F_u32,
        6 => 0x38C..0x394_u32,
        1 => Just(0x345_u32),
        1 => any::<u32>(),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => event().prop_map(|event| 0x43_0000 | u64::from(event)),
        2 => prop::sample::select(vec![0, 1, 0xB, 0xBB, 0xBBB, 0xBBBB, 0xB0B, 0x333, 0x8888, 4, 0xF_0000_00FF]),
        2 => (0..64_u32).prop_map(|bit| 1 << bit),
        1 => (0..64_u32).prop_map(|bit| u64::MAX >> bit),
        1 => any::<u64>(),
        1 => any::<u64>().prop_map(|value| value & 0xFFFF_FFFF),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    let ecx = prop_oneof![0..10_u32, 0x4000_0000..0x4000_0006_u32, any::<u32>()];
    prop_oneof![
        6 => (msr(), value()).prop_map(|(msr, value)| Access::Write(msr, value)),
        3 => msr().prop_map(Access::Read),
        2 => (ecx, 0..4_u8, any::<bool>(), any::<bool>()).prop_map(|(e, c, p, q)| Access::Rdpmc(e, c, p, q)),
        1 => any::<u64>().prop_map(Access::Overflow),
    ]
}

fn check(setup: Setup, accesses: Vec<Access>) -> Result<(), TestCaseError> {
    let mut raw = hardware(setup.hardware_version, setup.hardware_general, setup.hardware_fixed);
    raw.perf_capabilities = if setup.full_width { 0x2000 } else { 0 };
    let wanted = Wanted {
        version: Some(setup.version),
        general: Some(setup.general),
        fixed: Some(setup.fixed),
        tsx: setup.tsx,
    };
    let list = setup.list.clone();
    let fixed = (0..4).filter(|&i| list.fixed_counts(i)).fold(0, |bits, i| bits + (1 << i));
    let filter = filter(|event, umask| list.event_counts(u64::from(event) + 256 * u64::from(umask)), fixed);
    let policy = VmPolicy { channel: 1, mode: Mode::Mediated, wanted, filter, pmi_limit: None };
    let mut vpmu = Vpmu::new(&raw, &policy).unwrap();
    let mut port = FakePort::new(raw);
    vpmu.reset(&mut port).unwrap();
    let same = (setup.general, setup.fixed) == (setup.hardware_general as u8, setup.hardware_fixed as u8);
    let expected = match setup.version {
        0 => KernelMode::Off,
        1 => KernelMode::Trapped,
        _ if same => KernelMode::Direct,
        _ => KernelMode::Trapped,
    };
    prop_assert_eq!(port.mode, Some(expected));
    let mut oracle = Oracle::new(setup);
    for access in accesses {
        let before = port.registers.clone();
        let faulted = match access {
            Access::Write(msr, value) => {
                let expected = oracle.write(u64::from(msr), value);
                let result = vpmu.write(&mut port, msr, value);
                let control = matches!(result, Ok(Written::Control { .. }));
                if expected.is_some() && oracle.setup.version > 0 {
                    prop_assert_eq!(control, (0x186..0x18E).contains(&msr) || msr == 0x38D);
                }
                if let Ok(Written::Control { denied }) = result {
                    prop_assert_eq!(denied, oracle.hardware(msr) != value);
                }
                prop_assert_eq!(result.map(|_| ()), expected.ok_or(Trouble::Fault), "{:?}", access);
                expected.is_none()
            }
            Access::Read(msr) => {
                let expected = oracle.read(u64::from(msr)).ok_or(Trouble::Fault);
                prop_assert_eq!(vpmu.read(&mut port, msr), expected, "{:?}", access);
                true
            }
            Access::Rdpmc(ecx, cpl, pe, pce) => {
                let expected = oracle.rdpmc(ecx, cpl, pe, pce).ok_or(Trouble::Fault);
                let result = vpmu.rdpmc(&mut port, ecx, Privilege::new(cpl, pe, pce));
                prop_assert_eq!(result, expected, "{:?}", access);
                true
            }
            Access::Overflow(bits) => {
                if oracle.setup.version >= 2 {
                    let status = oracle.get(0x38E) | bits & oracle.counters();
                    let counter = bits % (1 << 48);
                    oracle.put(0x38E, status);
                    oracle.put(GP, counter);
                    port.set(0x38E, status);
                    port.set(GP as u32, counter);
                }
                false
            }
        };
        if faulted {
            prop_assert_eq!(&before, &port.registers, "{:?} changed the hardware", access);
        }
        for (&msr, &value) in &port.registers {
            prop_assert_eq!(value, oracle.hardware(msr), "{:#x} after {:?}", msr, access);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_access_is_as_the_manual_and_kvm_say(
        setup in setup(),
        accesses in prop::collection::vec(access(), 1..80),
    ) {
        check(setup, accesses)?;
    }
}
