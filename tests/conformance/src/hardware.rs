//! The PMU context that the kernel holds for a VCPU, and the hardware that counts in it.

use crate::reference::Reference;
use crate::registers::{Answer, FIXED, GENERAL, Geometry, Op, Registers, credit, fixed_credit};
use pmu_core::approved::Approved;
use pmu_core::{Approval, GuestControl, KernelMode, PmuPort, PortError, RawGeometry};
use std::cell::RefCell;
use std::rc::Rc;

/// seL4_InvalidArgument.
const INVALID_ARGUMENT: PortError = PortError(1);

/// A VCPU's PMU context.
#[derive(Clone, Debug)]
pub struct Context {
    geometry: Geometry,
    /// The registers as hardware has them while the guest runs.
    pub registers: Registers,
    /// What exits, and whether anything counts at all.
    pub mode: KernelMode,
    approved: Approved,
    /// The approved pairs as the specification has them: the newest first.
    table: Vec<Pair>,
    /// What was recorded since it was last asked for.
    recorded: Vec<Recorded>,
}

/// A control register, a guest's value, and the hardware's.
type Pair = (u32, u64, u64);

/// A pair that the kernel has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The control register.
    pub msr: u32,
    /// The guest's value.
    pub guest: u64,
    /// The hardware's.
    pub hardware: u64,
    /// The entry that it took the place of, counted from the newest; as many as there are for none.
    pub dropped: usize,
}

impl Context {
    /// An empty context of hardware with this geometry.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            registers: Registers::default(),
            mode: KernelMode::Off,
            approved: Approved::default(),
            table: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// The hardware counts; whether a counter that may interrupt overflowed (SDM 20.2.1, 20.2.2).
    pub fn count(&mut self, general: &[u64; GENERAL], fixed: &[u64; FIXED]) -> bool {
        let mut pmi = false;
        let geometry = self.geometry;
        let counting = self.mode != KernelMode::Off;
        let registers = &mut self.registers;
        for (i, events) in general.iter().enumerate().take(geometry.general) {
            let selector = registers.selectors[i];
            let enabled = registers.global_control >> i & 1 != 0 && selector >> 22 & 1 != 0;
            if counting && enabled {
                let (value, wrapped) = advance(registers.general[i], *events, geometry.width);
                registers.general[i] = value;
                registers.status |= u64::from(wrapped) << i;
                pmi |= wrapped && selector >> 20 & 1 != 0;
            }
        }
        for (i, events) in fixed.iter().enumerate().filter(|(i, _)| geometry.has_fixed(*i)) {
            let field = registers.fixed_control >> (4 * i) & 0xF;
            let enabled = registers.global_control >> (32 + i) & 1 != 0 && field & 3 != 0;
            if counting && enabled {
                let (value, wrapped) = advance(registers.fixed[i], *events, geometry.fixed_width);
                registers.fixed[i] = value;
                registers.status |= u64::from(wrapped) << (32 + i);
                pmi |= wrapped && field >> 3 != 0;
            }
        }
        pmi
    }

    /// One instruction is completed for the guest, as [`Op::Complete`]; whether that made a counter overflow that may
    /// interrupt.
    pub fn complete(&mut self, user: bool, branch: bool) -> bool {
        let Registers { selectors, fixed_control, .. } = self.registers;
        self.count(&selectors.map(|x| credit(x, user, branch)), &fixed_credit(fixed_control, user))
    }

    /// The guest's WRMSR, if the kernel may carry it out.
    pub fn guest_write(&mut self, msr: u32, value: u64) -> Option<()> {
        let hardware = self.approved.write(msr, value).filter(|_| self.completes())?;
        self.register(msr).ok().map(|register| *register = hardware)
    }

    /// The guest's RDMSR, if the kernel may carry it out.
    pub fn guest_read(&mut self, msr: u32) -> Option<u64> {
        self.approved.read(msr).filter(|_| self.completes())
    }

    /// Whether approved accesses are carried out.
    fn completes(&self) -> bool {
        matches!(self.mode, KernelMode::Trapped | KernelMode::Direct)
    }

    /// The guest's access without an exit, if this one does not: the hardware carries it out.
    pub fn direct(&mut self, op: &Op) -> Option<Answer> {
        let (msr, op) = match *op {
            Op::DirectRead(msr) => (msr, Op::Read(msr)),
            Op::DirectWrite(msr, value) => (msr, Op::Write(msr, value)),
            _ => return None,
        };
        let control = matches!(msr, 0x186..=0x18D | 0x38D | 0x391);
        let data = matches!(msr, 0xC1..=0xC8 | 0x4C1..=0x4C8 | 0x309..=0x30C | 0x38E..=0x390);
        match self.mode {
            KernelMode::Raw if data || control => {}
            KernelMode::Direct if data => {}
            _ => return None,
        }
        let mut hardware = Reference::of(self.geometry, self.registers);
        let answer = hardware.step(&op);
        self.registers = hardware.registers;
        Some(answer)
    }

    /// The hardware's geometry.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What was recorded since the last call and not withdrawn.
    pub fn take_recorded(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.recorded)
    }

    fn withdraw(&mut self) {
        self.approved.withdraw();
        self.table.clear();
        self.recorded.clear();
    }

    fn record(&mut self, pair: Pair) {
        let (msr, guest, hardware) = pair;
        self.approved.add(msr, guest, hardware);
        let approved = &self.approved;
        let gone = |&(m, g, _): &Pair| (m, g) == (msr, guest) || approved.clone().write(m, g).is_none();
        let dropped = self.table.iter().position(gone).unwrap_or(self.table.len());
        self.table.retain(|entry| !gone(entry));
        self.table.insert(0, pair);
        self.recorded.push(Recorded { msr, guest, hardware, dropped });
    }

    /// The register that `msr` names.
    fn register(&mut self, msr: u32) -> Result<&mut u64, PortError> {
        let index = |base: u32, count: usize| {
            let index = msr.checked_sub(base)? as usize;
            (index < count).then_some(index)
        };
        let (general, fixed) = (self.geometry.general, self.geometry.fixed_places());
        let registers = &mut self.registers;
        if let Some(i) = index(0x186, general) {
            return Ok(&mut registers.selectors[i]);
        }
        if let Some(i) = index(0x4C1, general) {
            return Ok(&mut registers.general[i]);
        }
        if let Some(i) = index(0x309, fixed).filter(|i| self.geometry.has_fixed(*i)) {
            return Ok(&mut registers.fixed[i]);
        }
        match msr {
            0x38D => Ok(&mut registers.fixed_control),
            0x38E => Ok(&mut registers.status),
            0x38F => Ok(&mut registers.global_control),
            _ => Err(INVALID_ARGUMENT),
        }
    }
}

/// `value` after `events` more, and whether it wrapped.
pub fn advance(value: u64, events: u64, width: u32) -> (u64, bool) {
    let sum = u128::from(value) + u128::from(events);
    let mask = (1_u128 << width) - 1;
    let value = u64::try_from(sum & mask).unwrap_or(u64::MAX);
    (value, sum > mask)
}

/// A context that the test shares with pmu_core.
#[derive(Clone, Debug)]
pub struct SharedContext(pub Rc<RefCell<Context>>);

impl PmuPort for SharedContext {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        Ok(raw(&self.0.borrow().geometry))
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        let mut context = self.0.borrow_mut();
        context.mode = mode;
        context.withdraw();
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        self.0.borrow_mut().register(msr).map(|value| *value)
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let mut context = self.0.borrow_mut();
        *context.register(msr)? = value;
        context.approved.withdraw_register(msr);
        context.table.retain(|(other, ..)| *other != msr);
        Ok(())
    }

    fn approve(&mut self, approval: Approval) -> Result<Option<GuestControl>, PortError> {
        let mut context = self.0.borrow_mut();
        match approval {
            Approval::Add { msr, guest, hardware } => {
                if !Approved::accepts(msr, guest, hardware) {
                    return Err(INVALID_ARGUMENT);
                }
                *context.register(msr)? = hardware;
                context.record((msr, guest, hardware));
            }
            Approval::Withdraw => context.withdraw(),
            Approval::Read => {}
        }
        Ok(Some(*context.approved.guest()))
    }
}

/// CPUID leaf 0xA of hardware with this geometry (SDM volume 2A, CPUID).
pub fn raw(geometry: &Geometry) -> RawGeometry {
    let byte = |value: usize| u32::from(value.to_le_bytes()[0]);
    let eax = u32::from(geometry.version) | byte(geometry.general) << 8 | geometry.width << 16 | 8 << 24;
    let ecx = if geometry.version >= 5 { u32::from(geometry.fixed) } else { 0 };
    let edx = geometry.fixed_without_gap() | geometry.fixed_width << 5;
    RawGeometry {
        leaf_a: [eax, 0, ecx, edx],
        perf_capabilities: geometry.capabilities,
        flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE | RawGeometry::SELECTS_TRANSACTIONS,
    }
}
