//! The capability distribution: which kernel objects a system consists of, which capability lies in which
//! slot, and what the frames hold at the start. `sdf` makes one from a system description; the initialiser
//! realises it.
//!
//! The distribution is three flat tables: objects (with names), slots, and fills. Slots are those of CNodes,
//! page tables, TCBs and IRQ handlers alike, numbered as Microkit's tool numbers them in its own capability
//! output. The order of slots is the order in which they are to be filled: a table before what lies in it.
//!
//! One encoding, [`View`] to read and the `encode` functions to write: little-endian records of fixed size,
//! so that the reader needs no memory of its own and any record is reached by its index. The reader is
//! total: [`View::parse`] checks every record, and whatever is wrong is an [`Error`] that names it.

#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod cap;
mod object;
mod view;

pub use cap::{Cap, Rights, Slot, Tag, tcb_slot};
pub use object::{Irq, Object, ObjectId, Polarity, Table, Tcb, Trigger};
pub use view::{
    Error, FILL_SIZE, Fill, HEADER_SIZE, MAGIC, OBJECT_SIZE, SLOT_SIZE, Span, View, encode_fill,
    encode_header, encode_object, encode_slot,
};

/// Bits of a 4 KiB page.
pub const SMALL_PAGE_BITS: u8 = 12;
/// Bits of a 2 MiB page.
pub const LARGE_PAGE_BITS: u8 = 21;
/// Index bits of a page table at each of the four levels (SDM 4.5.4, Table 4-14 and following; EPT: SDM 29.3.2).
pub const TABLE_INDEX_BITS: u8 = 9;
/// The level of the tables that hold 4 KiB pages; the root is at level 0.
pub const LEAF_LEVEL: u8 = 3;
