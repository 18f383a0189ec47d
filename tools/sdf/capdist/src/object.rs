//! Kernel objects, and their records.

use crate::bytes::{halves, join};

/// Index of an object in the distribution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId(pub u32);

/// A kernel object to be created (or, for frames at a physical address, found).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// A thread.
    Tcb(Tcb),
    /// An endpoint.
    Endpoint,
    /// A notification.
    Notification,
    /// A CNode with 2^size_bits slots.
    CNode {
        /// 1 to 16.
        size_bits: u8,
    },
    /// Memory of 2^size_bits bytes (12 or 21), zeroed and then filled.
    Frame {
        /// [`SMALL_PAGE_BITS`](crate::SMALL_PAGE_BITS) or [`LARGE_PAGE_BITS`](crate::LARGE_PAGE_BITS).
        size_bits: u8,
        /// The physical address that it must have; the kernel's device or normal memory.
        paddr: Option<u64>,
    },
    /// A page table of a VSpace or a guest's memory.
    Table(Table),
    /// A virtual CPU.
    Vcpu,
    /// The I/O ports `first..=last`.
    IoPorts {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// An interrupt's handler.
    Irq(Irq),
}

/// A thread's configuration. What it is bound to lies in its slots (see [`tcb_slot`](crate::tcb_slot)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcb {
    /// Virtual address of the IPC buffer.
    pub ipc_buffer: u64,
    /// Instruction pointer at the start.
    pub entry: u64,
    /// Stack pointer at the start.
    pub stack: u64,
    /// Priority, which is also the maximum controlled priority.
    pub priority: u8,
    /// Where the fault endpoint lies in the thread's own CSpace.
    pub fault_handler: u16,
}

/// A page table at some level of a VSpace or of a guest's (EPT) memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Whether it translates guest-physical addresses.
    pub ept: bool,
    /// 0 for the root (PML4) to 3 for a table of 4 KiB pages.
    pub level: u8,
    /// The root of the tree that it lies in; itself for a root.
    pub root: ObjectId,
    /// The first address that it translates.
    pub address: u64,
}

impl Table {
    /// Bits of the addresses that one slot translates.
    #[must_use]
    pub fn slot_bits(&self) -> u8 {
        let below = crate::LEAF_LEVEL.saturating_sub(self.level);
        crate::SMALL_PAGE_BITS + below * crate::TABLE_INDEX_BITS
    }

    /// The first address that slot `index` translates.
    #[must_use]
    pub fn slot_address(&self, index: u32) -> u64 {
        self.address.wrapping_add(u64::from(index) << self.slot_bits())
    }
}

/// When an I/O APIC pin asks for attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// On a change.
    Edge,
    /// While the line is active.
    Level,
}

/// Which level of an I/O APIC pin is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polarity {
    /// High.
    High,
    /// Low.
    Low,
}

/// Where an interrupt comes from. `vector` counts from the first vector that the kernel gives to users.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Irq {
    /// A pin of an I/O APIC.
    Ioapic {
        /// Index of the I/O APIC.
        ioapic: u32,
        /// Pin of that I/O APIC.
        pin: u32,
        /// Edge or level.
        trigger: Trigger,
        /// High or low.
        polarity: Polarity,
        /// 0 to 107.
        vector: u8,
    },
    /// A message-signalled interrupt of a PCI function.
    Msi {
        /// PCI bus.
        bus: u8,
        /// PCI device, 0 to 31.
        device: u8,
        /// PCI function, 0 to 7.
        function: u8,
        /// The message's data.
        handle: u32,
        /// 0 to 107.
        vector: u8,
    },
}

const TCB: u64 = 1;
const ENDPOINT: u64 = 2;
const NOTIFICATION: u64 = 3;
const CNODE: u64 = 4;
const FRAME: u64 = 5;
const FRAME_AT: u64 = 6;
const TABLE: u64 = 7;
const VCPU: u64 = 8;
const IO_PORTS: u64 = 9;
const IOAPIC: u64 = 10;
const MSI: u64 = 11;

impl Object {
    /// Number of slots, 0 for objects without.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self {
            Object::Tcb(_) => crate::tcb_slot::COUNT,
            Object::CNode { size_bits } => 1 << u32::from(*size_bits).min(31),
            Object::Table(_) => 1 << crate::TABLE_INDEX_BITS,
            Object::Irq(_) => 1,
            Object::Endpoint
            | Object::Notification
            | Object::Frame { .. }
            | Object::Vcpu
            | Object::IoPorts { .. } => 0,
        }
    }

    /// Kind and four words of the record.
    pub(crate) fn words(&self) -> [u64; 5] {
        match *self {
            Object::Tcb(t) => {
                [TCB, t.ipc_buffer, t.entry, t.stack, join(t.priority.into(), t.fault_handler.into())]
            }
            Object::Endpoint => [ENDPOINT, 0, 0, 0, 0],
            Object::Notification => [NOTIFICATION, 0, 0, 0, 0],
            Object::CNode { size_bits } => [CNODE, size_bits.into(), 0, 0, 0],
            Object::Frame { size_bits, paddr: None } => [FRAME, size_bits.into(), 0, 0, 0],
            Object::Frame { size_bits, paddr: Some(at) } => [FRAME_AT, size_bits.into(), at, 0, 0],
            Object::Table(t) => [TABLE, join(t.level.into(), t.ept.into()), t.root.0.into(), t.address, 0],
            Object::Vcpu => [VCPU, 0, 0, 0, 0],
            Object::IoPorts { first, last } => [IO_PORTS, first.into(), last.into(), 0, 0],
            Object::Irq(Irq::Ioapic { ioapic, pin, trigger, polarity, vector }) => {
                let line = join((trigger == Trigger::Level).into(), (polarity == Polarity::Low).into());
                [IOAPIC, ioapic.into(), pin.into(), line, vector.into()]
            }
            Object::Irq(Irq::Msi { bus, device, function, handle, vector }) => {
                [MSI, bus.into(), join(device.into(), function.into()), handle.into(), vector.into()]
            }
        }
    }

    /// The object of a record; `None` if no object has these words.
    pub(crate) fn from_words(words: [u64; 5]) -> Option<Object> {
        let [kind, a, b, c, d] = words;
        let object = match kind {
            TCB => {
                let (priority, fault_handler) = halves(d);
                let (priority, fault_handler) = (priority.try_into().ok()?, fault_handler.try_into().ok()?);
                Object::Tcb(Tcb { ipc_buffer: a, entry: b, stack: c, priority, fault_handler })
            }
            ENDPOINT => Object::Endpoint,
            NOTIFICATION => Object::Notification,
            CNODE => Object::CNode { size_bits: small(a, 1, 16)? },
            FRAME => Object::Frame { size_bits: page_bits(a)?, paddr: None },
            FRAME_AT => Object::Frame { size_bits: page_bits(a)?, paddr: Some(b) },
            TABLE => {
                let (level, ept) = halves(a);
                let level = small(level.into(), 0, crate::LEAF_LEVEL)?;
                Object::Table(Table {
                    ept: flag(ept)?,
                    level,
                    root: ObjectId(b.try_into().ok()?),
                    address: c,
                })
            }
            VCPU => Object::Vcpu,
            IO_PORTS => {
                let (first, last) = (a.try_into().ok()?, b.try_into().ok()?);
                (first <= last).then_some(Object::IoPorts { first, last })?
            }
            IOAPIC => {
                let (level, low) = halves(c);
                Object::Irq(Irq::Ioapic {
                    ioapic: a.try_into().ok()?,
                    pin: b.try_into().ok()?,
                    trigger: if flag(level)? { Trigger::Level } else { Trigger::Edge },
                    polarity: if flag(low)? { Polarity::Low } else { Polarity::High },
                    vector: d.try_into().ok()?,
                })
            }
            MSI => {
                let (device, function) = halves(b);
                Object::Irq(Irq::Msi {
                    bus: a.try_into().ok()?,
                    device: small(device.into(), 0, 31)?,
                    function: small(function.into(), 0, 7)?,
                    handle: c.try_into().ok()?,
                    vector: d.try_into().ok()?,
                })
            }
            _ => return None,
        };
        // Words that mean nothing for this kind are 0, so that an object has one encoding.
        (object.words() == words).then_some(object)
    }
}

fn small(value: u64, min: u8, max: u8) -> Option<u8> {
    let value = value.try_into().ok()?;
    (min..=max).contains(&value).then_some(value)
}

fn page_bits(value: u64) -> Option<u8> {
    let bits = value.try_into().ok()?;
    [crate::SMALL_PAGE_BITS, crate::LARGE_PAGE_BITS].contains(&bits).then_some(bits)
}

pub(crate) fn flag(value: u32) -> Option<bool> {
    match value {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
