//! Translation of the guest's linear addresses, to fetch an instruction (SDM vol. 3A, chapter 4). Permissions
//! are not checked: the processor has just executed what is fetched.

use crate::arch::{Field, PAGE, cr0, cr4, efer};
use crate::vcpu::Vcpu;

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

    /// The guest-physical address of a linear one, if it is mapped.
    pub fn translate<V: Vcpu>(&self, vcpu: &V, linear: u64) -> Option<u64> {
        if !self.enabled {
            return Some(linear & u64::from(u32::MAX));
        }
        match (self.long, self.extended) {
            (true, _) => walk(vcpu, self.root & ADDRESS, linear, 4),
            (false, true) => {
                // 4.4.1: four entries, each a root of two levels.
                let entry = entry8(vcpu, (self.root & 0xffff_ffe0) + (linear >> 30 & 3) * 8)?;
                walk(vcpu, entry & ADDRESS, linear & 0x3fff_ffff, 2)
            }
            (false, false) => self.walk_32(vcpu, linear & u64::from(u32::MAX)),
        }
    }

    /// 4.3: two levels of 4-byte entries.
    fn walk_32<V: Vcpu>(&self, vcpu: &V, linear: u64) -> Option<u64> {
        let directory = entry4(vcpu, (self.root & 0xffff_f000) + (linear >> 22) * 4)?;
        if self.large && directory & LARGE != 0 {
            return Some(directory & 0xffc0_0000 | linear & 0x3f_ffff);
        }
        let table = entry4(vcpu, (directory & 0xffff_f000) + (linear >> 12 & 0x3ff) * 4)?;
        Some(table & 0xffff_f000 | linear & (PAGE - 1))
    }
}

/// 4.4 and 4.5: `levels` of 8-byte entries from the table at `table` on.
fn walk<V: Vcpu>(vcpu: &V, mut table: u64, linear: u64, levels: u32) -> Option<u64> {
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let entry = entry8(vcpu, table + (linear >> shift & 0x1ff) * 8)?;
        let inside = (1 << shift) - 1;
        if level == 0 || entry & LARGE != 0 && level <= 2 {
            return Some(entry & ADDRESS & !inside | linear & inside);
        }
        table = entry & ADDRESS;
    }
    None
}

fn entry8<V: Vcpu>(vcpu: &V, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let there = vcpu.read_memory(address, &mut bytes);
    Some(u64::from_le_bytes(bytes)).filter(|entry| there && entry & PRESENT != 0)
}

fn entry4<V: Vcpu>(vcpu: &V, address: u64) -> Option<u64> {
    let mut bytes = [0; 4];
    let there = vcpu.read_memory(address, &mut bytes);
    Some(u64::from(u32::from_le_bytes(bytes))).filter(|entry| there && entry & PRESENT != 0)
}
