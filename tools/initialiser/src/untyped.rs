//! Which untyped memory an object is made of.
//!
//! The kernel allocates upwards in each untyped capability, aligned to the object, and clears all of a capability's
//! memory when its first object is made. So the smallest capability that has room is used: large ones stay
//! untouched as long as possible.

use heapless::Vec;

/// The most capabilities that can be known: those of the kernel and fillers.
pub const MAX: usize = 512;
/// The smallest untyped object, as a power of two.
const MIN_BITS: u8 = sel4_abi::numbers::size_bits::MIN_UNTYPED;

/// An untyped capability and how much of it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Untyped {
    /// Its slot.
    pub slot: u64,
    /// Its physical address, aligned to its size.
    pub address: u64,
    /// Its size as a power of two.
    pub bits: u8,
    /// Device memory: only frames at given addresses come from there.
    pub device: bool,
    /// Bytes used, from its start.
    pub used: u64,
}

impl Untyped {
    /// Where the next object of 2^`bits` bytes would begin, from the start, if there is room.
    fn room(&self, bits: u8) -> Option<u64> {
        let (size, object) = (1_u64.checked_shl(self.bits.into())?, 1_u64.checked_shl(bits.into())?);
        let start = self.used.checked_next_multiple_of(object)?;
        (start.checked_add(object)? <= size).then_some(start)
    }
}

/// What to do next so that a frame gets its physical address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make the frame of the untyped capability in this slot.
    Frame(u64),
    /// Make an untyped object of 2^bits bytes of the capability in this slot, and report it by
    /// [`Untypeds::add_filler`].
    Filler {
        /// The slot of the capability to be used.
        from: u64,
        /// Size as a power of two.
        bits: u8,
    },
}

/// All untyped memory.
#[derive(Default)]
pub struct Untypeds {
    list: Vec<Untyped, MAX>,
}

impl Untypeds {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Untypeds {
        Untypeds { list: Vec::new() }
    }

    /// Adds a capability; what does not fit into the list is not used.
    pub fn add(&mut self, untyped: Untyped) {
        let _ = self.list.push(untyped);
    }

    /// The slot of the capability to make an object of 2^`bits` bytes of, which then counts as made.
    pub fn take(&mut self, bits: u8) -> Option<u64> {
        let fits = self.list.iter_mut().filter(|u| !u.device);
        let fits = fits.filter_map(|u| u.room(bits).map(|start| (u, start)));
        let (untyped, start) = fits.min_by_key(|(u, _)| u.bits)?;
        untyped.used = start + (1 << bits);
        Some(untyped.slot)
    }

    /// The next step towards a frame of 2^`bits` bytes at `address`, which then counts as done.
    pub fn take_at(&mut self, address: u64, bits: u8) -> Option<Step> {
        let size = 1_u64.checked_shl(bits.into())?;
        let end = address.checked_add(size)?;
        let untyped = self.list.iter_mut().find(|u| {
            let inside = u.address <= address
                && 1_u64.checked_shl(u.bits.into()).is_some_and(|s| end <= u.address + s);
            inside && u.used <= address - u.address
        })?;
        let gap = address - untyped.address - untyped.used;
        if gap == 0 {
            untyped.used += size;
            return Some(Step::Frame(untyped.slot));
        }
        let aligned = untyped.used.trailing_zeros().min(gap.ilog2());
        let bits = u8::try_from(aligned).ok().filter(|bits| *bits >= MIN_BITS)?;
        untyped.used += 1 << bits;
        Some(Step::Filler { from: untyped.slot, bits })
    }

    /// Adds the untyped object that [`Step::Filler`] asked for, in `slot`.
    pub fn add_filler(&mut self, from: u64, bits: u8, slot: u64) {
        if let Some(parent) = self.list.iter().find(|u| u.slot == from).copied() {
            let address = parent.address + parent.used - (1 << bits);
            self.add(Untyped { slot, address, bits, device: parent.device, used: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, Untyped, Untypeds};
    use std::vec::Vec;

    fn memory(list: &[(u64, u64, u8, bool)]) -> Untypeds {
        let mut untypeds = Untypeds::new();
        for &(slot, address, bits, device) in list {
            untypeds.add(Untyped { slot, address, bits, device, used: 0 });
        }
        untypeds
    }

    #[test]
    fn the_smallest_with_room_is_used_and_device_memory_never() {
        let mut m = memory(&[(1, 0x1000_0000, 24, false), (2, 0x5000, 12, false), (3, 0x9000, 12, true)]);
        assert_eq!(m.take(11), Some(2));
        assert_eq!(m.take(12), Some(1), "only 2 KiB are left in slot 2");
        assert_eq!(m.take(11), Some(2));
        assert_eq!(m.take(4), Some(1), "slot 2 is full");
        assert_eq!(m.take(25), None);
    }

    #[test]
    fn alignment_is_the_objects() {
        let mut m = memory(&[(1, 0, 13, false)]);
        assert_eq!(m.take(4), Some(1));
        assert_eq!(m.take(12), Some(1), "from 0x1000");
        assert_eq!(m.take(4), None, "the kernel allocates upwards only");
    }

    #[test]
    fn frames_get_their_addresses_and_what_is_skipped_stays_usable() {
        let mut m = memory(&[(1, 0x10_0000, 20, false)]);
        let mut steps = Vec::new();
        for slot in 10.. {
            let step = m.take_at(0x10_3000, 12);
            steps.push(step);
            match step {
                Some(Step::Filler { from, bits }) => m.add_filler(from, bits, slot),
                _ => break,
            }
        }
        let filler = |bits| Some(Step::Filler { from: 1, bits });
        assert_eq!(steps, [filler(13), filler(12), Some(Step::Frame(1))]);
        assert_eq!(m.take(12), Some(11), "the filler of 4 KiB");
        assert_eq!(m.take(13), Some(10));
        assert_eq!(m.take_at(0x10_3000, 12), None, "taken");
        assert_eq!(m.take_at(0x10_4000, 12), Some(Step::Frame(1)));
        assert_eq!(m.take_at(0x20_0000, 12), None, "outside");
    }

    #[test]
    fn device_memory_serves_addresses() {
        let mut m = memory(&[(7, 0xfee0_0000, 12, true)]);
        assert_eq!(m.take_at(0xfee0_0000, 12), Some(Step::Frame(7)));
    }
}
