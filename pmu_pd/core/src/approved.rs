//! A model of the kernel's approved pairs, for ports that are not the kernel's: what tests run against.

use crate::arch::{GENERAL_LEN, IA32_FIXED_CTR_CTRL, IA32_PERFEVTSEL0};
use crate::port::GuestControl;

/// Pairs of a control register.
pub const PAIRS: usize = 16;
/// The selectors, then IA32_FIXED_CTR_CTRL.
const CONTROLS: usize = GENERAL_LEN + 1;

/// A guest's value and the hardware's.
type Pair = (u64, u64);

/// One VCPU's table of approved pairs and its guest's values. A full table loses its oldest pairs; the kernel's may lose
/// others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approved {
    pairs: [[Option<Pair>; PAIRS]; CONTROLS],
    next: [usize; CONTROLS],
    guest: GuestControl,
}

/// The place of control register `msr`.
fn place(msr: u32) -> Option<usize> {
    let index = usize::try_from(msr.wrapping_sub(IA32_PERFEVTSEL0)).ok()?;
    if msr == IA32_FIXED_CTR_CTRL { Some(GENERAL_LEN) } else { (index < GENERAL_LEN).then_some(index) }
}

impl Approved {
    /// Whether `msr` is a control register, and values that go into the table are.
    pub fn accepts(msr: u32, guest: u64, hardware: u64) -> bool {
        place(msr).is_some() && (guest | hardware) >> u32::BITS == 0
    }

    /// Approves of a pair and makes `guest` the guest's value.
    pub fn add(&mut self, msr: u32, guest: u64, hardware: u64) {
        let Some(i) = place(msr) else { return };
        *self.value(i) = guest;
        let next = self.next[i];
        let pairs = &mut self.pairs[i];
        let at = pairs.iter().position(|pair| pair.is_some_and(|pair| pair.0 == guest)).unwrap_or(next);
        pairs[at] = Some((guest, hardware));
        if at == next {
            self.next[i] = (next + 1) % PAIRS;
        }
    }

    /// Approves of nothing.
    pub fn withdraw(&mut self) {
        (self.pairs, self.next) = Default::default();
    }

    /// Approves of nothing in register `msr`.
    pub fn withdraw_register(&mut self, msr: u32) {
        if let Some(i) = place(msr) {
            (self.pairs[i], self.next[i]) = Default::default();
        }
    }

    /// The guest writes `value` to `msr`: what the hardware gets, if the kernel completes the write.
    pub fn write(&mut self, msr: u32, value: u64) -> Option<u64> {
        let i = place(msr)?;
        let (_, hardware) = self.pairs[i].iter().flatten().find(|pair| pair.0 == value).copied()?;
        *self.value(i) = value;
        self.guest.approved_writes += 1;
        Some(hardware)
    }

    /// The guest reads `msr`: the value, if the kernel completes the read.
    pub fn read(&mut self, msr: u32) -> Option<u64> {
        let i = place(msr)?;
        let value = *self.value(i);
        self.pairs[i].iter().flatten().find(|pair| pair.0 == value)?;
        self.guest.approved_reads += 1;
        Some(value)
    }

    /// The guest's values.
    pub const fn guest(&self) -> &GuestControl {
        &self.guest
    }

    fn value(&mut self, i: usize) -> &mut u64 {
        match self.guest.selectors.get_mut(i) {
            Some(selector) => selector,
            None => &mut self.guest.fixed_control,
        }
    }
}
