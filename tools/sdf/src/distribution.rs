//! The capability distribution while it is made, and its encoding.

use capdist::{
    Cap, FILL_SIZE, HEADER_SIZE, OBJECT_SIZE, Object, ObjectId, SLOT_SIZE, Slot, Span, Tag, encode_fill,
    encode_header, encode_object, encode_slot,
};

/// A capability distribution: what `capdist` encodes, with names and data of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// The objects; their ids are their indices.
    pub objects: Vec<Named>,
    /// The slots, in the order in which they are to be filled.
    pub slots: Vec<Slot>,
    /// What frames hold at the start.
    pub fills: Vec<Fill>,
    /// Whether the system is made for a kernel with the debug print system call. Not encoded: the boot module
    /// says it to the initialiser.
    pub kernel_prints: bool,
}

/// An object with its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// The name that messages about the object use, for example `tcb_vmm`.
    pub name: String,
    /// The object.
    pub object: Object,
}

/// Bytes that a frame holds at the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fill {
    /// The frame.
    pub frame: ObjectId,
    /// Where in the frame.
    pub offset: u32,
    /// What.
    pub data: Vec<u8>,
}

impl Distribution {
    /// Adds an object.
    pub fn object(&mut self, name: impl Into<String>, object: Object) -> ObjectId {
        let id = ObjectId(length(self.objects.len()));
        self.objects.push(Named { name: name.into(), object });
        id
    }

    /// Puts a capability to `object` into a slot.
    pub fn slot(&mut self, holder: ObjectId, index: u32, object: ObjectId, tag: Tag) {
        self.slots.push(Slot { holder, index, cap: Cap { object, tag } });
    }

    /// Fills a frame from `offset`; data of zeros needs no filling.
    pub fn fill(&mut self, frame: ObjectId, offset: u32, data: &[u8]) {
        if data.iter().any(|byte| *byte != 0) {
            self.fills.push(Fill { frame, offset, data: data.to_vec() });
        }
    }

    /// The id of the object with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ObjectId> {
        let index = self.objects.iter().position(|object| object.name == name)?;
        Some(ObjectId(length(index)))
    }

    /// The bytes that `capdist::View` reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tables = HEADER_SIZE
            + self.objects.len() * OBJECT_SIZE
            + self.slots.len() * SLOT_SIZE
            + self.fills.len() * FILL_SIZE;
        let mut tail = Vec::new();
        let mut place = |bytes: &[u8]| {
            let span = Span { start: length(tables + tail.len()), length: length(bytes.len()) };
            tail.extend_from_slice(bytes);
            span
        };
        let mut records = Vec::with_capacity(tables);
        for Named { name, object } in &self.objects {
            records.extend(encode_object(object, place(name.as_bytes())));
        }
        for slot in &self.slots {
            records.extend(encode_slot(slot));
        }
        for fill in &self.fills {
            records.extend(encode_fill(fill.frame, fill.offset, place(&fill.data)));
        }
        let total = length(tables + tail.len());
        let counts = (length(self.objects.len()), length(self.slots.len()), length(self.fills.len()));
        [&encode_header(counts.0, counts.1, counts.2, total)[..], &records, &tail].concat()
    }
}

/// A length as 32 bits: a distribution of 4 GiB cannot be booted.
pub(crate) fn length(value: usize) -> u32 {
    u32::try_from(value).expect("a distribution is smaller than 4 GiB")
}
