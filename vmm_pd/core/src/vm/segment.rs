//! The segment of the memory operand of INS and OUTS: they exit before it is checked (SDM vol. 3C, 28.2.1: it may even be
//! unusable), so that the checks are the VMM's.

use super::Processor;
use crate::arch::{Field, Interruption, vector};
use crate::instruction::CodeSize;
use crate::msr::is_canonical;
use crate::vcpu::Vcpu;

/// Access rights (SDM vol. 3C, table 25-2): the type; D/B; unusable.
const WRITABLE_OR_READABLE: u64 = 1 << 1;
const EXPAND_DOWN: u64 = 1 << 2;
const CODE: u64 = 1 << 3;
const BIG: u64 = 1 << 14;
const UNUSABLE: u64 = 1 << 16;

/// Segment registers by their numbers in the VM-exit instruction information (SDM vol. 3C, table 28-8): limit and access
/// rights.
const SEGMENTS: [[Field; 2]; 6] = [
    [Field::GuestEsLimit, Field::GuestEsAccessRights],
    [Field::GuestCsLimit, Field::GuestCsAccessRights],
    [Field::GuestSsLimit, Field::GuestSsAccessRights],
    [Field::GuestDsLimit, Field::GuestDsAccessRights],
    [Field::GuestFsLimit, Field::GuestFsAccessRights],
    [Field::GuestGsLimit, Field::GuestGsAccessRights],
];
const ES: usize = 0;
const SS: usize = 2;

/// What an access by the segment must keep to.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    /// In 64-bit mode addresses are canonical.
    Canonical,
    /// Offsets from the first to the last.
    Offsets(u64, u64),
    /// The segment is not one for this access.
    Nothing,
}

/// A segment, and how it is accessed.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    bounds: Bounds,
    fault: Interruption,
}

impl Segment {
    /// The segment of INS (`write`), or of OUTS with this instruction information.
    pub fn of<V: Vcpu>(cpu: &mut Processor<'_, V>, size: CodeSize, write: bool, information: u64) -> Self {
        let [low, ..] = (information >> 15).to_le_bytes();
        let number = if write { ES } else { usize::from(low & 7) };
        let fault = if number == SS { vector::SS } else { vector::GP };
        let bounds = match SEGMENTS.get(number) {
            _ if size == CodeSize::Bits64 => Bounds::Canonical,
            Some(&[limit, rights]) => {
                let (limit, rights) = (cpu.vcpu.read(limit), cpu.vcpu.read(rights));
                Self::bounds(limit, rights, write)
            }
            None => Bounds::Nothing,
        };
        Self { bounds, fault: Interruption::exception_with_code(fault) }
    }

    /// SDM vol. 3A, 3.4.5.1 and 5.3.
    const fn bounds(limit: u64, rights: u64, write: bool) -> Bounds {
        let allowed = if rights & CODE != 0 {
            !write && rights & WRITABLE_OR_READABLE != 0
        } else {
            !write || rights & WRITABLE_OR_READABLE != 0
        };
        if rights & UNUSABLE != 0 || !allowed {
            return Bounds::Nothing;
        }
        if rights & (CODE | EXPAND_DOWN) == EXPAND_DOWN {
            return Bounds::Offsets(limit + 1, if rights & BIG != 0 { 0xffff_ffff } else { 0xffff });
        }
        Bounds::Offsets(0, limit)
    }

    /// Whether so many bytes at this offset, which is this linear address, can be accessed.
    ///
    /// # Errors
    /// The exception.
    pub const fn check(self, offset: u64, linear: u64, bytes: u64) -> Result<(), Interruption> {
        let good = match self.bounds {
            Bounds::Canonical => is_canonical(linear) && is_canonical(linear.wrapping_add(bytes - 1)),
            Bounds::Offsets(first, last) => first <= offset && offset.saturating_add(bytes - 1) <= last,
            Bounds::Nothing => false,
        };
        if good { Ok(()) } else { Err(self.fault) }
    }
}
