//! Capabilities and the slots that they lie in, and their records.

use crate::bytes::{halves, join};
use crate::object::{Object, ObjectId};

/// Slots of a TCB, with the numbers of Microkit's capability output.
pub mod tcb_slot {
    /// Root of the CSpace: a CNode.
    pub const CSPACE: u32 = 0;
    /// Root of the VSpace: a table of level 0.
    pub const VSPACE: u32 = 1;
    /// The IPC buffer: a frame.
    pub const IPC_BUFFER: u32 = 4;
    /// The notification whose signals the thread receives on any endpoint.
    pub const BOUND_NOTIFICATION: u32 = 8;
    /// The virtual CPU that the thread enters.
    pub const VCPU: u32 = 9;
    /// Root of the guest's memory: an EPT table of level 0.
    pub const EPT_ROOT: u32 = 10;
    /// One more than the last slot.
    pub const COUNT: u32 = 11;
}

/// Rights of a capability. For a VCPU, *write* is the right to run it and *grant* the right to its PMU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Receive; read.
    pub read: bool,
    /// Send; write; run.
    pub write: bool,
    /// Send capabilities; program the PMU.
    pub grant: bool,
}

impl Rights {
    /// Every right.
    pub const ALL: Rights = Rights { read: true, write: true, grant: true };
    /// Read and write without grant.
    pub const READ_WRITE: Rights = Rights { read: true, write: true, grant: false };
    /// A VCPU's registers, VMCS and entry.
    pub const VCPU_RUN: Rights = Rights { read: false, write: true, grant: false };
    /// A VCPU's PMU.
    pub const VCPU_PMU: Rights = Rights { read: false, write: false, grant: true };

    fn bits(self) -> u8 {
        u8::from(self.read) | u8::from(self.write) << 1 | u8::from(self.grant) << 2
    }

    fn from_bits(bits: u8) -> Rights {
        Rights { read: bits & 1 != 0, write: bits & 2 != 0, grant: bits & 4 != 0 }
    }
}

/// A capability to an object of the distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cap {
    /// The object.
    pub object: ObjectId,
    /// What kind of capability, and what narrows it.
    pub tag: Tag,
}

/// What kind of capability, and what narrows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Control of a thread.
    Tcb,
    /// An endpoint.
    Endpoint {
        /// Delivered to the receiver; 0 for none.
        badge: u64,
        /// Narrowed rights.
        rights: Rights,
    },
    /// A notification.
    Notification {
        /// Ored into the notification's word; 0 for none.
        badge: u64,
        /// Narrowed rights.
        rights: Rights,
    },
    /// A CNode, as the root of a CSpace.
    CNode {
        /// Number of address bits before the slot's index, all 0.
        guard_size: u8,
    },
    /// A frame: mapped, where the slot is one of a table.
    Frame {
        /// Narrowed rights.
        rights: Rights,
        /// Whether the mapping is cached.
        cached: bool,
        /// Whether the description asks for execution. The bundled kernel has no execute-disable: it then
        /// is information only.
        executable: bool,
    },
    /// A page table: mapped, where the slot is one of a table.
    Table,
    /// A virtual CPU.
    Vcpu {
        /// Run (write), PMU (grant) or both.
        rights: Rights,
    },
    /// I/O ports.
    IoPorts,
    /// An interrupt's handler.
    Irq,
}

/// A capability in a slot of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The object whose slot it is: a CNode, a table, a TCB or an IRQ handler.
    pub holder: ObjectId,
    /// Which slot.
    pub index: u32,
    /// What lies there.
    pub cap: Cap,
}

const TCB: u8 = 1;
const ENDPOINT: u8 = 2;
const NOTIFICATION: u8 = 3;
const CNODE: u8 = 4;
const FRAME: u8 = 5;
const TABLE: u8 = 6;
const VCPU: u8 = 7;
const IO_PORTS: u8 = 8;
const IRQ: u8 = 9;

impl Tag {
    /// Whether an object of this kind can have such a capability.
    #[must_use]
    pub fn fits(&self, object: &Object) -> bool {
        matches!(
            (self, object),
            (Tag::Tcb, Object::Tcb(_))
                | (Tag::Endpoint { .. }, Object::Endpoint)
                | (Tag::Notification { .. }, Object::Notification)
                | (Tag::CNode { .. }, Object::CNode { .. })
                | (Tag::Frame { .. }, Object::Frame { .. })
                | (Tag::Table, Object::Table(_))
                | (Tag::Vcpu { .. }, Object::Vcpu)
                | (Tag::IoPorts, Object::IoPorts { .. })
                | (Tag::Irq, Object::Irq(_))
        )
    }

    fn parts(&self) -> ([u8; 4], u64) {
        match *self {
            Tag::Tcb => ([TCB, 0, 0, 0], 0),
            Tag::Endpoint { badge, rights } => ([ENDPOINT, rights.bits(), 0, 0], badge),
            Tag::Notification { badge, rights } => ([NOTIFICATION, rights.bits(), 0, 0], badge),
            Tag::CNode { guard_size } => ([CNODE, 0, 0, guard_size], 0),
            Tag::Frame { rights, cached, executable } => {
                ([FRAME, rights.bits(), u8::from(cached) | u8::from(executable) << 1, 0], 0)
            }
            Tag::Table => ([TABLE, 0, 0, 0], 0),
            Tag::Vcpu { rights } => ([VCPU, rights.bits(), 0, 0], 0),
            Tag::IoPorts => ([IO_PORTS, 0, 0, 0], 0),
            Tag::Irq => ([IRQ, 0, 0, 0], 0),
        }
    }

    fn from_parts(parts: ([u8; 4], u64)) -> Option<Tag> {
        let ([kind, rights, flags, guard_size], badge) = parts;
        let rights = Rights::from_bits(rights);
        let tag = match kind {
            TCB => Tag::Tcb,
            ENDPOINT => Tag::Endpoint { badge, rights },
            NOTIFICATION => Tag::Notification { badge, rights },
            CNODE => Tag::CNode { guard_size },
            FRAME => Tag::Frame { rights, cached: flags & 1 != 0, executable: flags & 2 != 0 },
            TABLE => Tag::Table,
            VCPU => Tag::Vcpu { rights },
            IO_PORTS => Tag::IoPorts,
            IRQ => Tag::Irq,
            _ => return None,
        };
        (tag.parts() == parts).then_some(tag)
    }
}

impl Slot {
    pub(crate) fn words(&self) -> [u64; 3] {
        let (parts, badge) = self.cap.tag.parts();
        [join(self.holder.0, self.index), join(self.cap.object.0, u32::from_le_bytes(parts)), badge]
    }

    pub(crate) fn from_words([place, what, badge]: [u64; 3]) -> Option<Slot> {
        let (holder, index) = halves(place);
        let (object, parts) = halves(what);
        let tag = Tag::from_parts((parts.to_le_bytes(), badge))?;
        Some(Slot { holder: ObjectId(holder), index, cap: Cap { object: ObjectId(object), tag } })
    }
}
