//! Translation of the guest's linear addresses, to fetch an instruction or reach the memory operand of one (SDM vol. 3A,
//! chapter 4). Accessed and dirty flags are not set.

use crate::arch::{Field, PAGE, cr0, cr4, efer};
use crate::vcpu::{Memory, Vcpu};

/// Where a linear address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The guest-physical address.
    pub address: u64,
    /// Every entry on the way allows writes.
    pub writable: bool,
    /// Every entry on the way allows accesses at CPL 3.
    pub user: bool,
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
const LARGE: u64 = 1 << 7;
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
        if !self.enabled {
            let address = linear & u64::from(u32::MAX);
            return Some(Translation { address, writable: true, user: true });
        }
        match (self.long, self.extended) {
            (true, _) => walk(vcpu, self.root & ADDRESS, linear, 4),
            (false, true) => {
                // 4.4.1: four entries, each a root of two levels; they have no access rights.
                let entry = entry8(vcpu, (self.root & 0xffff_ffe0) + (linear >> 30 & 3) * 8)?;
                walk(vcpu, entry & ADDRESS, linear & 0x3fff_ffff, 2)
            }
            (false, false) => self.walk_32(vcpu, linear & u64::from(u32::MAX)),
        }
    }

    /// 4.3: two levels of 4-byte entries.
    fn walk_32<V: Memory>(&self, vcpu: &V, linear: u64) -> Option<Translation> {
        let directory = entry4(vcpu, (self.root & 0xffff_f000) + (linear >> 22) * 4)?;
        if self.large && directory & LARGE != 0 {
            return Some(translation(directory & 0xffc0_0000 | linear & 0x3f_ffff, directory));
        }
        let table = entry4(vcpu, (directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4)?;
        Some(translation(table & 0xffff_f000 | linear & (PAGE - 1), directory & table))
    }
}

/// 4.6: the rights are those that every entry gives.
const fn translation(address: u64, rights: u64) -> Translation {
    Translation { address, writable: rights & WRITABLE != 0, user: rights & USER != 0 }
}

/// 4.4 and 4.5: `levels` of 8-byte entries from the table at `table` on.
fn walk<V: Memory>(vcpu: &V, mut table: u64, linear: u64, levels: u32) -> Option<Translation> {
    let mut rights = u64::MAX;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = entry8(vcpu, table + (linear >> shift & 0x1ff) * 8)?;
        let inside = (1 << shift) - 1;
        rights &= entry;
        if level == 0 || entry & LARGE != 0 && level <= 2 {
            return Some(translation(entry & ADDRESS & !inside | linear & inside, rights));
        }
        table = entry & ADDRESS;
    }
    None
}

fn entry8<V: Memory>(vcpu: &V, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let there = vcpu.read_memory(address, &mut bytes);
    Some(u64::from_le_bytes(bytes)).filter(|entry| there && entry & PRESENT != 0)
}

fn entry4<V: Memory>(vcpu: &V, address: u64) -> Option<u64> {
    let mut bytes = [0; 4];
    let there = vcpu.read_memory(address, &mut bytes);
    Some(u64::from(u32::from_le_bytes(bytes))).filter(|entry| there && entry & PRESENT != 0)
}
