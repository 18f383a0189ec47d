//! Translation of the guest's linear addresses, to fetch an instruction or reach the memory operand of one (SDM vol. 3A,
//! chapter 4).

use crate::arch::{Field, PAGE, cr0, cr4, efer};
use crate::vcpu::{Memory, Vcpu};
use heapless::Vec;

/// Where a linear address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub address: u64,
    /// Every entry on the way allows writes.
    pub writable: bool,
    /// Every entry on the way allows accesses at CPL 3.
    pub user: bool,
    /// Every entry on the way is marked as accessed.
    pub accessed: bool,
    /// The last one is marked as dirty.
    pub dirty: bool,
}

/// An entry on the way: where it is, its size in bytes, its value, and whether it is the last one.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    bytes: usize,
    value: u64,
    last: bool,
}

/// What decides how linear addresses translate.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    enabled: bool,
    /// Physical address extension: entries of 8 bytes.
    extended: bool,
    /// IA-32e mode: four levels.
    long: bool,
    /// 4 MiB pages in 32-bit paging.
    large: bool,
    root: u64,
}

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// The most entries on the way that have flags.
const LEVELS: usize = 4;
/// Bits 51:12 of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Paging {
    /// The paging of the guest now; `root` is its CR3.
    pub fn of<V: Vcpu>(vcpu: &mut V, root: u64) -> Self {
        let control = vcpu.read(Field::GuestCr4);
        Self {
            enabled: vcpu.read(Field::GuestCr0) & cr0::PG != 0,
            extended: control & cr4::PAE != 0,
            long: vcpu.read(Field::GuestEfer) & efer::LMA != 0,
            large: control & cr4::PSE != 0,
            root,
        }
    }

    /// Where a linear address leads, if it is mapped.
    pub fn translate<V: Memory>(&self, vcpu: &V, linear: u64) -> Option<Translation> {
        self.walk(vcpu, linear, |_| {})
    }

    /// Sets the flags that an access by this linear address sets (4.8): accessed in each entry on the way, dirty in the last
    /// one if it is written.
    pub fn mark<V: Memory>(&self, vcpu: &mut V, linear: u64, write: bool) {
        let mut entries = Vec::<Entry, LEVELS>::new();
        self.walk(vcpu, linear, |entry| {
            // There is room for every level.
            let _ = entries.push(entry);
        });
        for Entry { at, bytes, value, last } in entries {
            let marked = value | ACCESSED | if write && last { DIRTY } else { 0 };
            if marked != value {
                vcpu.write_memory(at, &marked.to_le_bytes()[..bytes]);
            }
        }
    }

    fn walk<V: Memory>(&self, vcpu: &V, linear: u64, each: impl FnMut(Entry)) -> Option<Translation> {
        if !self.enabled {
            let address = linear & u64::from(u32::MAX);
            return Some(Translation { address, writable: true, user: true, accessed: true, dirty: true });
        }
        match (self.long, self.extended) {
            (true, _) => walk(vcpu, self.root & ADDRESS, linear, 4, each),
            (false, true) => {
                // 4.4.1: four entries, each a root of two levels; they have neither access rights nor flags.
                let entry = entry(vcpu, (self.root & 0xffff_ffe0) + (linear >> 30 & 3) * 8, 8)?;
                walk(vcpu, entry & ADDRESS, linear & 0x3fff_ffff, 2, each)
            }
            (false, false) => self.walk_32(vcpu, linear & u64::from(u32::MAX), each),
        }
    }

    /// 4.3: two levels of 4-byte entries.
    fn walk_32<V: Memory>(&self, vcpu: &V, linear: u64, mut each: impl FnMut(Entry)) -> Option<Translation> {
        let at = (self.root & 0xffff_f000) + (linear >> 22) * 4;
        let directory = entry(vcpu, at, 4)?;
        let large = self.large && directory & LARGE != 0;
        each(Entry { at, bytes: 4, value: directory, last: large });
        if large {
            let address = directory & 0xffc0_0000 | linear & 0x3f_ffff;
            return Some(translation(address, directory, directory));
        }
        let at = (directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4;
        let table = entry(vcpu, at, 4)?;
        each(Entry { at, bytes: 4, value: table, last: true });
        Some(translation(table & 0xffff_f000 | linear & (PAGE - 1), directory & table, table))
    }
}

/// 4.6 and 4.8: rights and flags are those that every entry has; `last` is the last one.
const fn translation(address: u64, all: u64, last: u64) -> Translation {
    Translation {
        address,
        writable: all & WRITABLE != 0,
        user: all & USER != 0,
        accessed: all & ACCESSED != 0,
        dirty: last & DIRTY != 0,
    }
}

/// 4.4 and 4.5: `levels` of 8-byte entries from the table at `table` on.
fn walk<V: Memory>(
    vcpu: &V,
    mut table: u64,
    linear: u64,
    levels: u32,
    mut each: impl FnMut(Entry),
) -> Option<Translation> {
    let mut all = u64::MAX;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let at = table + (linear >> shift & 0x1ff) * 8;
        let value = entry(vcpu, at, 8)?;
        let inside = (1 << shift) - 1;
        all &= value;
        let last = level == 0 || value & LARGE != 0 && level <= 2;
        each(Entry { at, bytes: 8, value, last });
        if last {
            return Some(translation(value & ADDRESS & !inside | linear & inside, all, value));
        }
        table = value & ADDRESS;
    }
    None
}

/// An entry of so many bytes, at most 8, that is there and present.
fn entry<V: Memory>(vcpu: &V, address: u64, length: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    let there = vcpu.read_memory(address, &mut bytes[..length]);
    Some(u64::from_le_bytes(bytes)).filter(|entry| there && entry & PRESENT != 0)
}
