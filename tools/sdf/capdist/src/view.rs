//! The encoded distribution: header, objects, slots, fills, then the bytes that records refer to.

use crate::bytes::{WORD, halves, join, record, word};
use crate::cap::{Slot, Tag, tcb_slot};
use crate::object::{Object, ObjectId};
use core::fmt;

/// First word of every distribution; the last byte counts versions of the encoding.
pub const MAGIC: u64 = u64::from_le_bytes(*b"capdist1");
/// Bytes of the header: magic, numbers of objects and slots, number of fills and bytes of the whole.
pub const HEADER_SIZE: usize = 3 * WORD;
/// Bytes of an object's record: kind, four words, place of the name.
pub const OBJECT_SIZE: usize = 6 * WORD;
/// Bytes of a slot's record: holder and index, object and tag, badge.
pub const SLOT_SIZE: usize = 3 * WORD;
/// Bytes of a fill's record: frame and offset, place of the data.
pub const FILL_SIZE: usize = 2 * WORD;

/// A stretch of the distribution's bytes, from its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// Its number of bytes.
    pub length: u32,
}

/// Bytes that a frame holds at the start; the rest of a frame is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fill<'a> {
    /// The frame.
    pub frame: ObjectId,
    /// Where in the frame.
    pub offset: u32,
    /// What.
    pub data: &'a [u8],
}

/// Why bytes are not a distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The first word is not [`MAGIC`].
    Magic,
    /// There are fewer or more bytes than the header says.
    Length,
    /// The object with this index has a record that stands for none.
    Object(u32),
    /// The object with this index has a name that is outside the bytes or is no UTF-8.
    Name(u32),
    /// The table with this index has a root that is no root of its kind, or a misaligned address.
    Root(u32),
    /// The slot with this index (in the list) has a record that stands for none.
    Slot(u32),
    /// The slot with this index is in an object that does not exist or has no such slot.
    Holder(u32),
    /// The slot with this index has a capability that its object does not have, or that its holder cannot
    /// hold.
    Cap(u32),
    /// The fill with this index is outside its frame or the bytes.
    Fill(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Magic => f.write_str("no capability distribution, or one of another version"),
            Error::Length => f.write_str("the capability distribution has a wrong length"),
            Error::Object(i) => write!(f, "object {i} of the distribution is malformed"),
            Error::Name(i) => write!(f, "object {i} of the distribution has a malformed name"),
            Error::Root(i) => write!(f, "object {i} of the distribution is a table in no tree"),
            Error::Slot(i) => write!(f, "slot {i} of the distribution is malformed"),
            Error::Holder(i) => write!(f, "slot {i} of the distribution is in an object without it"),
            Error::Cap(i) => {
                write!(f, "slot {i} of the distribution holds a capability that cannot be there")
            }
            Error::Fill(i) => write!(f, "fill {i} of the distribution is outside its frame or the data"),
        }
    }
}

/// A distribution in its encoded form, checked.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    objects: &'a [u8],
    slots: &'a [u8],
    fills: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks every record of `bytes`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<View<'a>, Error> {
        if word(bytes, 0) != Some(MAGIC) {
            return Err(Error::Magic);
        }
        let (objects, slots) = halves(word(bytes, 1).ok_or(Error::Length)?);
        let (fills, total) = halves(word(bytes, 2).ok_or(Error::Length)?);
        if usize::try_from(total) != Ok(bytes.len()) {
            return Err(Error::Length);
        }
        let rest = bytes.get(HEADER_SIZE..).ok_or(Error::Length)?;
        let (objects, rest) = table(rest, objects, OBJECT_SIZE)?;
        let (slots, rest) = table(rest, slots, SLOT_SIZE)?;
        let (fills, _) = table(rest, fills, FILL_SIZE)?;
        let view = View { bytes, objects, slots, fills };
        view.check()?;
        Ok(view)
    }

    /// Number of objects; their ids are 0 and following.
    #[must_use]
    pub fn object_count(&self) -> u32 {
        count(self.objects, OBJECT_SIZE)
    }

    /// The object with this id, or `None` if there are fewer.
    #[must_use]
    pub fn object(&self, id: ObjectId) -> Option<Object> {
        self.object_record(id.0).and_then(decode_object)
    }

    /// The name of the object with this id; empty if there is none.
    #[must_use]
    pub fn name(&self, id: ObjectId) -> &'a str {
        self.name_of(id.0).unwrap_or_default()
    }

    /// All objects with their ids.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, Object)> + use<'a> {
        let records = self.objects.chunks_exact(OBJECT_SIZE);
        (0..).map(ObjectId).zip(records.filter_map(decode_object))
    }

    /// All slots, in the order in which they are to be filled.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<'a> {
        self.slots.chunks_exact(SLOT_SIZE).filter_map(decode_slot)
    }

    /// All fills, those of one frame one after the other.
    pub fn fills(&self) -> impl Iterator<Item = Fill<'a>> + use<'a> {
        let bytes = self.bytes;
        self.fills.chunks_exact(FILL_SIZE).filter_map(|record| decode_fill(record, bytes))
    }

    fn object_record(&self, index: u32) -> Option<&'a [u8]> {
        let start = usize::try_from(index).ok()?.checked_mul(OBJECT_SIZE)?;
        self.objects.get(start..start.checked_add(OBJECT_SIZE)?)
    }

    fn name_of(&self, index: u32) -> Option<&'a str> {
        let bytes = span(self.bytes, word(self.object_record(index)?, 5)?)?;
        core::str::from_utf8(bytes).ok()
    }

    fn check(&self) -> Result<(), Error> {
        for (i, record) in (0..).zip(self.objects.chunks_exact(OBJECT_SIZE)) {
            let object = decode_object(record).ok_or(Error::Object(i))?;
            self.name_of(i).ok_or(Error::Name(i))?;
            self.check_table(i, &object)?;
        }
        for (i, record) in (0..).zip(self.slots.chunks_exact(SLOT_SIZE)) {
            let slot = decode_slot(record).ok_or(Error::Slot(i))?;
            self.check_slot(i, &slot)?;
        }
        for (i, record) in (0..).zip(self.fills.chunks_exact(FILL_SIZE)) {
            let fill = decode_fill(record, self.bytes).ok_or(Error::Fill(i))?;
            self.check_fill(i, &fill)?;
        }
        Ok(())
    }

    fn check_table(&self, index: u32, object: &Object) -> Result<(), Error> {
        let Object::Table(table) = object else { return Ok(()) };
        let root = match self.object(table.root) {
            Some(Object::Table(root)) => root,
            _ => return Err(Error::Root(index)),
        };
        let is_root = (table.level == 0) == (table.root.0 == index);
        let span = 1_u64 << (table.slot_bits() + crate::TABLE_INDEX_BITS);
        if root.level == 0 && root.ept == table.ept && is_root && table.address % span == 0 {
            Ok(())
        } else {
            Err(Error::Root(index))
        }
    }

    fn check_slot(&self, index: u32, slot: &Slot) -> Result<(), Error> {
        let holder = self.object(slot.holder).ok_or(Error::Holder(index))?;
        if slot.index >= holder.slots() {
            return Err(Error::Holder(index));
        }
        let object = self.object(slot.cap.object).ok_or(Error::Cap(index))?;
        if slot.cap.tag.fits(&object) && can_hold(&holder, slot, &object) {
            Ok(())
        } else {
            Err(Error::Cap(index))
        }
    }

    fn check_fill(&self, index: u32, fill: &Fill<'_>) -> Result<(), Error> {
        let Some(Object::Frame { size_bits, .. }) = self.object(fill.frame) else {
            return Err(Error::Fill(index));
        };
        let end = u64::from(fill.offset) + fill.data.len() as u64;
        if end <= 1 << size_bits { Ok(()) } else { Err(Error::Fill(index)) }
    }
}

/// Whether `holder` can have this capability, to `object`, in this slot.
fn can_hold(holder: &Object, slot: &Slot, object: &Object) -> bool {
    match (holder, object, slot.cap.tag) {
        (Object::CNode { .. }, Object::Table(_) | Object::Frame { .. }, _) => true,
        (Object::CNode { .. }, _, Tag::CNode { .. }) => false,
        (Object::CNode { .. }, ..) => true,
        (Object::Irq(_), Object::Notification, _) => true,
        (Object::Table(table), Object::Frame { size_bits, .. }, _) => table.slot_bits() == *size_bits,
        (Object::Table(table), Object::Table(below), _) => {
            below.level == table.level + 1
                && below.root == table.root
                && below.address == table.slot_address(slot.index)
        }
        (Object::Tcb(_), Object::CNode { .. }, _) => slot.index == tcb_slot::CSPACE,
        (Object::Tcb(_), Object::Frame { .. }, _) => slot.index == tcb_slot::IPC_BUFFER,
        (Object::Tcb(_), Object::Notification, _) => slot.index == tcb_slot::BOUND_NOTIFICATION,
        (Object::Tcb(_), Object::Vcpu, _) => slot.index == tcb_slot::VCPU,
        (Object::Tcb(_), Object::Table(table), _) => {
            table.level == 0 && slot.index == if table.ept { tcb_slot::EPT_ROOT } else { tcb_slot::VSPACE }
        }
        _ => false,
    }
}

fn table(bytes: &[u8], count: u32, size: usize) -> Result<(&[u8], &[u8]), Error> {
    let length = usize::try_from(count).ok().and_then(|n| n.checked_mul(size)).ok_or(Error::Length)?;
    bytes.split_at_checked(length).ok_or(Error::Length)
}

fn count(table: &[u8], size: usize) -> u32 {
    u32::try_from(table.len() / size).unwrap_or(u32::MAX)
}

fn span(bytes: &[u8], place: u64) -> Option<&[u8]> {
    let (start, length) = halves(place);
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn decode_object(record: &[u8]) -> Option<Object> {
    let w = |i| word(record, i);
    Object::from_words([w(0)?, w(1)?, w(2)?, w(3)?, w(4)?])
}

fn decode_slot(record: &[u8]) -> Option<Slot> {
    Slot::from_words([word(record, 0)?, word(record, 1)?, word(record, 2)?])
}

fn decode_fill<'a>(record: &[u8], bytes: &'a [u8]) -> Option<Fill<'a>> {
    let (frame, offset) = halves(word(record, 0)?);
    Some(Fill { frame: ObjectId(frame), offset, data: span(bytes, word(record, 1)?)? })
}

/// The header of a distribution with these numbers of records and `total` bytes in all.
#[must_use]
pub fn encode_header(objects: u32, slots: u32, fills: u32, total: u32) -> [u8; HEADER_SIZE] {
    record([MAGIC, join(objects, slots), join(fills, total)])
}

/// An object's record.
#[must_use]
pub fn encode_object(object: &Object, name: Span) -> [u8; OBJECT_SIZE] {
    let [kind, a, b, c, d] = object.words();
    record([kind, a, b, c, d, join(name.start, name.length)])
}

/// A slot's record.
#[must_use]
pub fn encode_slot(slot: &Slot) -> [u8; SLOT_SIZE] {
    record(slot.words())
}

/// The record of a fill of `frame` from `offset` with `data`.
#[must_use]
pub fn encode_fill(frame: ObjectId, offset: u32, data: Span) -> [u8; FILL_SIZE] {
    record([join(frame.0, offset), join(data.start, data.length)])
}
