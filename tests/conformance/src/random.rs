//! Random operations, biased towards values that matter; the same for the same seed.

use crate::alphabet::single_bits;
use crate::registers::{Answer, Geometry, Op, Registers};
use crate::system::System;
use crate::trace::{Player, Trace};
use pmu_api::Mode;

/// Marsaglia's xorshift generator of 64 bits.
#[derive(Clone, Debug)]
pub struct Random(u64, u64);

impl Random {
    /// `seed` may be anything.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1, 0)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap_or(0)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A word: a boundary, a few bits, or anything.
    fn word(&mut self) -> u64 {
        match self.below(4) {
            0 => self.pick(&[0, 1, u64::MAX, 1 << 63, 0x7FFF_FFFF, 0x8000_0000, (1 << 48) - 1, 1 << 48]),
            1 => 1 << self.below(64),
            2 => self.next() & self.next() & self.next(),
            _ => self.next(),
        }
    }

    fn selector(&mut self) -> u64 {
        const KEYS: [u64; 12] =
            [0x3C, 0xC0, 0xC0, 0x412E, 0x4F2E, 0x452E, 0xC4, 0xC4, 0x01B7, 0x012A, 0x013C, 0];
        let event = if self.one_in(4) { self.next() & 0xFFFF } else { self.pick(&KEYS) };
        let counter_mask = self.pick(&[0, 0, 1, 1, 2, 0xFF]);
        let flags = self.next() & 0x009F_0000 | counter_mask << 24;
        let enable = if self.one_in(4) { 0 } else { 1 << 22 };
        let stray = if self.one_in(6) { 1 << self.below(64) } else { 0 };
        (event | flags | enable) ^ stray
    }

    fn register(&mut self, msr: u32) -> u64 {
        match msr {
            0x186..=0x18E => self.selector(),
            0x38D => self.next() & if self.one_in(6) { u64::MAX } else { 0xBBBB },
            0x38F..=0x391 => {
                let stray = if self.one_in(6) { self.word() } else { 0 };
                self.next() & 0xF_0000_00FF | stray
            }
            _ => self.word(),
        }
    }

    fn msr(&mut self) -> u32 {
        let base = self.pick(&[0xC1, 0x186, 0x186, 0x186, 0x309, 0x38C, 0x38C, 0x38C, 0x4C1, 0x345]);
        match base {
            0x345 => 0x345,
            _ => base + u32::try_from(self.below(9)).unwrap_or(0),
        }
    }

    fn events(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.next() & 0xFFF,
            2 => self.next() >> 16,
            _ => self.next(),
        }
    }

    /// An operation for guest `vm`; `saved` is an earlier snapshot of it.
    pub fn op(&mut self, system: &System, vm: usize, saved: Option<&Registers>) -> Op {
        let op = self.operation(&system.guest(vm), system.filters.len(), saved);
        let (msr, direct) = match op {
            Op::Read(msr) | Op::GuestRead(msr) => (msr, Op::DirectRead(msr)),
            Op::Write(msr, value) | Op::GuestWrite(msr, value) => (msr, Op::DirectWrite(msr, value)),
            _ => return op,
        };
        // A data register that is direct may be asked for all the same.
        let exits = system.exits(vm, msr);
        let control = matches!(msr, 0x186..=0x18D | 0x38D | 0x391);
        if !exits && (control || self.one_in(2)) { direct } else { op }
    }

    fn operation(&mut self, geometry: &Geometry, filters: usize, saved: Option<&Registers>) -> Op {
        let counts = geometry.version > 0;
        match self.below(20) {
            0 if self.one_in(8) => Op::Open,
            0 | 1 => Op::Filter(self.below(filters)),
            2 if self.one_in(2) => Op::Save,
            2 | 3 if counts && let Some(registers) = saved => Op::Restore(self.changed(registers, geometry)),
            4..=7 => {
                let mut general = [0; 8];
                let mut fixed = [0; 4];
                general.iter_mut().take(geometry.general).for_each(|x| *x = self.events());
                fixed.iter_mut().take(geometry.fixed_places()).for_each(|x| *x = self.events());
                Op::Count(general, fixed)
            }
            8 | 9 if self.one_in(6) => Op::Complete(self.one_in(2), self.one_in(2)),
            8 | 9 => self.guest_access(geometry),
            10 => Op::Read(self.msr()),
            12 => Op::Overflow(self.time()),
            11 => {
                let kind = self.pick(&[0, 0x4000_0000, 0x8000_0000, 0x2000_0000]);
                let index = u32::try_from(self.below(10)).unwrap_or(0);
                let cpl = self.pick(&[0, 3]);
                Op::Rdpmc(kind | index, cpl, !self.one_in(4), !self.one_in(3))
            }
            _ => {
                let msr = self.msr();
                Op::Write(msr, self.register(msr))
            }
        }
    }

    /// A time of the TSC, mostly soon after the last.
    fn time(&mut self) -> u64 {
        self.1 = match self.below(12) {
            0 => self.word(),
            _ => self.1.wrapping_add(self.below(90) as u64),
        };
        self.1
    }

    /// A guest's access, mostly to a control register and with a value that it has had before.
    fn guest_access(&mut self, geometry: &Geometry) -> Op {
        const KEYS: [u64; 6] = [0, 0x3C, 0xC0, 0x412E, 0x4F2E, 0x01B7];
        let selector = 0x186 + u32::try_from(self.below(geometry.general.clamp(1, 2))).unwrap_or(0);
        let msr = self.pick(&[selector, selector, selector, 0x38D]);
        match self.below(8) {
            0 => Op::GuestWrite(self.msr(), self.word()),
            1 | 2 => Op::GuestRead(msr),
            _ if msr == 0x38D => Op::GuestWrite(msr, self.pick(&[0, 0xB, 0x33, 0xBBBB])),
            _ => Op::GuestWrite(msr, self.pick(&KEYS) | self.pick(&[0x43, 0x53, 0x47]) << 16),
        }
    }

    /// A snapshot's registers, half of the time with one word changed.
    fn changed(&mut self, registers: &Registers, geometry: &Geometry) -> Registers {
        let mut registers = *registers;
        if self.one_in(2) {
            let word = if self.one_in(2) { 1 << self.below(4) } else { self.word() };
            let general = self.below(geometry.general.max(1));
            match self.below(6) {
                0 => registers.selectors[general] ^= word,
                1 => registers.fixed_control ^= word,
                2 => registers.global_control ^= word,
                3 => registers.status ^= word,
                4 => registers.general[general] ^= word,
                _ if geometry.fixed > 0 => registers.fixed[self.below(geometry.fixed_places())] ^= word,
                _ => {}
            }
        }
        registers
    }
}

/// A trace of [`single_bits`] and `steps` random operations of all VMs.
pub fn trace<'a>(system: &'a System, player: &mut impl Player, steps: usize, seed: u64) -> Trace<'a> {
    let mut random = Random::new(seed);
    let mut trace = Trace::new(system, player);
    let mut saved: Vec<Option<Registers>> = vec![None; system.vms.len()];
    for (vm, config) in system.vms.iter().enumerate() {
        for op in single_bits(config.mode) {
            trace.step(player, vm, &op);
        }
    }
    for _ in 0..steps {
        let vm = random.below(system.vms.len());
        let op = random.op(system, vm, saved[vm].as_ref());
        let op = match op {
            Op::Count(..) if system.vms[vm].mode == Mode::Off => Op::Read(0xC1),
            op => op,
        };
        if let Answer::Saved(registers) = trace.step(player, vm, &op) {
            saved[vm] = Some(registers);
        }
    }
    trace
}
