//! A VSpace or a guest's memory: its tables, made as pages need them.

use super::index;
use crate::distribution::Distribution;
use capdist::{LEAF_LEVEL, Object, ObjectId, TABLE_INDEX_BITS, Table, Tag};
use std::collections::HashMap;

/// Names of tables at levels 0 to 3, as in Microkit's capability output.
const LEVELS: [&str; 4] = ["pml4", "pdpt", "pd", "pt"];

/// The tables of one address space.
pub(super) struct Space {
    name: String,
    ept: bool,
    root: ObjectId,
    /// Tables by level and first address.
    tables: HashMap<(u8, u64), ObjectId>,
    /// Mapped frames by address.
    frames: HashMap<u64, ObjectId>,
}

impl Space {
    /// An empty space.
    pub(super) fn new(d: &mut Distribution, name: &str, ept: bool) -> Space {
        let root = ObjectId(crate::distribution::length(d.objects.len()));
        let table = Table { ept, level: 0, root, address: 0 };
        let root = d.object(format!("{}_{name}", LEVELS[0]), Object::Table(table));
        Space {
            name: name.to_owned(),
            ept,
            root,
            tables: HashMap::from([((0, 0), root)]),
            frames: HashMap::new(),
        }
    }

    pub(super) fn root(&self) -> ObjectId {
        self.root
    }

    /// The frame that is mapped at exactly this address.
    pub(super) fn frame(&self, address: u64) -> Option<ObjectId> {
        self.frames.get(&address).copied()
    }

    /// Bytes of a frame.
    pub(super) fn size(&self, d: &Distribution, frame: ObjectId) -> u64 {
        1 << frame_bits(d, frame)
    }

    /// Maps a frame at an address that is aligned to its size and free.
    pub(super) fn map(&mut self, d: &mut Distribution, frame: ObjectId, address: u64, tag: Tag) {
        let level = LEAF_LEVEL - u8::from(frame_bits(d, frame) == capdist::LARGE_PAGE_BITS);
        let table = self.table(d, level, address);
        d.slot(table, slot(level, address), frame, tag);
        self.frames.insert(address, frame);
    }

    /// The table at `level` that translates `address`, and before it those above, made if need be.
    fn table(&mut self, d: &mut Distribution, level: u8, address: u64) -> ObjectId {
        let mut holder = self.root;
        for level in 1..=level {
            let base = address & !(span(level) - 1);
            let key = (level, base);
            holder = match self.tables.get(&key) {
                Some(table) => *table,
                None => {
                    let name = format!("{}_{}_vaddr_{base:#x}", LEVELS[usize::from(level)], self.name);
                    let table = Table { ept: self.ept, level, root: self.root, address: base };
                    let table = d.object(name, Object::Table(table));
                    d.slot(holder, slot(level - 1, base), table, Tag::Table);
                    self.tables.insert(key, table);
                    table
                }
            };
        }
        holder
    }
}

fn frame_bits(d: &Distribution, frame: ObjectId) -> u8 {
    match d.objects.get(frame.0 as usize).map(|named| named.object) {
        Some(Object::Frame { size_bits, .. }) => size_bits,
        _ => unreachable!("only frames are mapped"),
    }
}

/// Bytes that one table at `level` translates.
fn span(level: u8) -> u64 {
    slot_span(level) << TABLE_INDEX_BITS
}

fn slot_span(level: u8) -> u64 {
    1 << (capdist::SMALL_PAGE_BITS + (LEAF_LEVEL - level) * TABLE_INDEX_BITS)
}

/// Which slot of a table at `level` translates `address`.
fn slot(level: u8, address: u64) -> u32 {
    index(address / slot_span(level) % (1 << TABLE_INDEX_BITS))
}
