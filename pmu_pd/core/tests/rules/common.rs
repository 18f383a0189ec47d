//! What the tests of pmu_core share: a port that behaves like the kernel's, hardware, policies.

use pmu_api::{Mode, Privilege};
use pmu_core::approved::Approved;
use pmu_core::arch::*;
use pmu_core::geometry::Wanted;
use pmu_core::policy::VmPolicy;
use pmu_core::shadow::TABLE_WORDS;
use pmu_core::{Approval, Filter, GuestControl, KernelMode, PmuPort, PortError, RawGeometry, Vpmu};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// seL4_RangeError, what the kernel answers to a value that hardware would refuse.
pub const RANGE_ERROR: PortError = PortError(4);

/// A VCPU's PMU context that refuses what real hardware refuses, and remembers every write.
#[derive(Clone, Debug)]
pub struct FakePort {
    pub raw: RawGeometry,
    pub registers: BTreeMap<u32, u64>,
    pub mode: Option<KernelMode>,
    pub writes: Vec<(u32, u64)>,
    pub modes: Vec<KernelMode>,
    /// Accesses that still succeed, if limited.
    pub budget: Option<usize>,
    pub no_authority: bool,
    /// The kernel's table; `None` for a kernel that completes nothing.
    pub approved: Option<Approved>,
}

impl FakePort {
    pub fn new(raw: RawGeometry) -> Self {
        let (registers, modes) = (BTreeMap::new(), Vec::new());
        Self {
            raw,
            registers,
            mode: None,
            writes: Vec::new(),
            modes,
            budget: None,
            no_authority: false,
            approved: Some(Approved::default()),
        }
    }

    /// The guest's WRMSR; whether the kernel completed it.
    pub fn guest_writes(&mut self, msr: u32, value: u64) -> bool {
        let counting = matches!(self.mode, Some(KernelMode::Trapped | KernelMode::Direct));
        let hardware = self.approved.as_mut().filter(|_| counting).and_then(|table| table.write(msr, value));
        hardware.inspect(|&hardware| self.set(msr, hardware)).is_some()
    }

    /// The guest's RDMSR, if the kernel completes it.
    pub fn guest_reads(&mut self, msr: u32) -> Option<u64> {
        let counting = matches!(self.mode, Some(KernelMode::Trapped | KernelMode::Direct));
        self.approved.as_mut().filter(|_| counting).and_then(|table| table.read(msr))
    }

    pub fn get(&self, msr: u32) -> u64 {
        self.registers.get(&msr).copied().unwrap_or(0)
    }

    pub fn set(&mut self, msr: u32, value: u64) {
        self.registers.insert(msr, value);
    }

    fn spend(&mut self) -> Result<(), PortError> {
        match &mut self.budget {
            None => Ok(()),
            Some(0) => Err(RANGE_ERROR),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn general(&self) -> u32 {
        self.raw.leaf_a[0] >> 8 & 0xFF
    }

    fn fixed(&self) -> u64 {
        let listed = (1_u64 << (self.raw.leaf_a[3] & 0x1F)) - 1;
        let bitmap = if self.raw.leaf_a[0] & 0xFF >= 5 { u64::from(self.raw.leaf_a[2]) } else { 0 };
        if self.raw.leaf_a[0] & 0xFF >= 2 { listed | bitmap } else { 0 }
    }

    /// The bits that hardware accepts in a register of the context; `None` if it has no such register.
    fn accepted(&self, msr: u32) -> Option<u64> {
        let (general, fixed) = (self.general(), self.fixed());
        let width = |bits: u32| 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
        let counters = width(general) | fixed << 32;
        let global = self.raw.leaf_a[0] & 0xFF >= 2;
        match msr {
            0x186.. if msr < 0x186 + general => Some(0x3_FFFF_FFFF & !(1 << 21)),
            0x4C1.. if msr < 0x4C1 + general => Some(width(self.raw.leaf_a[0] >> 16 & 0xFF)),
            0x309..0x319 if fixed >> (msr - 0x309) & 1 != 0 => Some(width(self.raw.leaf_a[3] >> 5 & 0xFF)),
            0x38D if global => {
                Some((0..16).filter(|i| fixed >> i & 1 != 0).fold(0, |mask, i| mask | 0xF << (4 * i)))
            }
            0x38E | 0x38F if global => Some(counters),
            _ => None,
        }
    }
}

impl PmuPort for FakePort {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        if self.no_authority { Err(PortError(2)) } else { Ok(self.raw) }
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        self.modes.push(mode);
        self.mode = Some(mode);
        self.approved.iter_mut().for_each(Approved::withdraw);
        self.spend()
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.spend()?;
        self.accepted(msr).map(|_| self.get(msr)).ok_or(RANGE_ERROR)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        self.spend()?;
        match self.accepted(msr) {
            Some(accepted) if value & !accepted == 0 => {
                self.writes.push((msr, value));
                self.set(msr, value);
                self.approved.iter_mut().for_each(|table| table.withdraw_register(msr));
                Ok(())
            }
            _ => Err(RANGE_ERROR),
        }
    }

    fn approve(&mut self, approval: Approval) -> Result<Option<GuestControl>, PortError> {
        let Some(mut table) = self.approved.clone() else {
            return match approval {
                Approval::Add { msr, hardware, .. } => self.write(msr, hardware).map(|()| None),
                Approval::Withdraw | Approval::Read => Ok(None),
            };
        };
        match approval {
            Approval::Add { msr, guest, hardware } => {
                if !Approved::accepts(msr, guest, hardware) {
                    return Err(RANGE_ERROR);
                }
                self.write(msr, hardware)?;
                table.add(msr, guest, hardware);
            }
            Approval::Withdraw => {
                self.spend()?;
                table.withdraw();
            }
            Approval::Read => self.spend()?,
        }
        let known = *table.guest();
        self.approved = Some(table);
        Ok((!matches!(approval, Approval::Add { .. })).then_some(known))
    }
}

/// Hardware of `version` with these counters, 48 bits wide, 8 architectural events, full-width writes.
pub fn hardware(version: u32, general: u32, fixed: u32) -> RawGeometry {
    let (listed, bitmap) = if version >= 2 { (fixed, (1 << fixed) - 1) } else { (0, 0) };
    RawGeometry {
        leaf_a: [
            version | general << 8 | 48 << 16 | 8 << 24,
            0,
            if version >= 5 { bitmap } else { 0 },
            listed | 48 << 5 | 1 << 15,
        ],
        perf_capabilities: 1 << 13,
        flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE | RawGeometry::SELECTS_TRANSACTIONS,
    }
}

/// Ice Lake's.
pub fn ice_lake() -> RawGeometry {
    hardware(5, 8, 4)
}

/// A table that lives for ever and permits what `permits` says (event select, unit mask).
pub fn table(permits: impl Fn(u8, u8) -> bool) -> &'static [AtomicU64; TABLE_WORDS] {
    let off_core = |event, umask| matches!((event, umask), (0xB7 | 0xBB | 0x2A | 0x2B, 1));
    let bit = |key: u16| {
        let [event, umask] = key.to_le_bytes();
        u64::from(permits(event, umask) && !off_core(event, umask)) << (key % 64)
    };
    let word = |i: u16| AtomicU64::new((0..64).fold(0, |word, b| word | bit(64 * i + b)));
    let words: &'static [AtomicU64] = (0..1024).map(word).collect::<Vec<_>>().leak();
    words.try_into().unwrap()
}

pub fn filter(permits: impl Fn(u8, u8) -> bool, fixed: u64) -> Filter<'static> {
    Filter::new(table(permits), fixed).unwrap()
}

pub fn allow_all() -> Filter<'static> {
    static TABLE: OnceLock<&'static [AtomicU64; TABLE_WORDS]> = OnceLock::new();
    Filter::new(TABLE.get_or_init(|| table(|_, _| true)), 0xF).unwrap()
}

pub fn policy(mode: Mode, wanted: Wanted, filter: Filter<'static>) -> VmPolicy<'static> {
    VmPolicy { channel: 1, mode, wanted, filter, pmi_limit: None }
}

pub fn version(version: u8) -> Wanted {
    Wanted { version: Some(version), ..Wanted::default() }
}

/// A vPMU just reset, with its port.
pub struct Bench {
    pub vpmu: Vpmu<'static>,
    pub port: FakePort,
}

impl Bench {
    pub fn with(raw: RawGeometry, policy: &VmPolicy<'static>) -> Self {
        let mut port = FakePort::new(raw);
        let mut vpmu = Vpmu::new(&raw, policy).unwrap();
        vpmu.reset(&mut port).unwrap();
        port.writes.clear();
        port.modes.clear();
        Self { vpmu, port }
    }

    /// A mediated guest of `version` on Ice Lake with everything permitted.
    pub fn guest(guest_version: u8) -> Self {
        Self::with(ice_lake(), &policy(Mode::Mediated, version(guest_version), allow_all()))
    }

    pub fn write(
        &mut self,
        msr: u32,
        value: u64,
    ) -> Result<pmu_core::vpmu::Written, pmu_core::vpmu::Trouble> {
        self.vpmu.write(&mut self.port, msr, value)
    }

    pub fn read(&mut self, msr: u32) -> Result<u64, pmu_core::vpmu::Trouble> {
        self.vpmu.read(&mut self.port, msr)
    }

    pub fn rdpmc(&mut self, ecx: u32) -> Result<u64, pmu_core::vpmu::Trouble> {
        self.vpmu.rdpmc(&mut self.port, ecx, Privilege::new(0, true, false))
    }

    /// A write that must give #GP(0) and change nothing.
    #[track_caller]
    pub fn faults(&mut self, msr: u32, value: u64) {
        let before = self.port.clone();
        let (selectors, fixed) = (*self.vpmu.selectors(), self.vpmu.fixed_control());
        assert_eq!(self.write(msr, value), Err(pmu_core::vpmu::Trouble::Fault), "{msr:#x} = {value:#x}");
        assert_eq!(self.port.writes, before.writes, "{msr:#x} = {value:#x} reached the hardware");
        assert_eq!((*self.vpmu.selectors(), self.vpmu.fixed_control()), (selectors, fixed));
    }

    /// A write that must complete.
    #[track_caller]
    pub fn accepts(&mut self, msr: u32, value: u64) {
        assert!(self.write(msr, value).is_ok(), "{msr:#x} = {value:#x} was refused");
    }

    /// Whether a read gives #GP(0).
    #[track_caller]
    pub fn is_absent(&mut self, msr: u32) -> bool {
        self.read(msr) == Err(pmu_core::vpmu::Trouble::Fault)
    }
}

pub const EVENTSEL: u32 = IA32_PERFEVTSEL0;
