//! What is encoded is read back the same, and no bytes make the reader panic.

use capdist::{
    Cap, HEADER_SIZE, Irq, MAGIC, Object, ObjectId, Polarity, Rights, Slot, Tag, Tcb, Trigger, View,
};
use proptest::prelude::*;
use sdf::{Distribution, Fill, Named};

fn object() -> impl Strategy<Value = Object> {
    let tcb =
        any::<(u64, u64, u64, u8, u16)>().prop_map(|(ipc_buffer, entry, stack, priority, fault_handler)| {
            Object::Tcb(Tcb { ipc_buffer, entry, stack, priority, fault_handler })
        });
    let frame = (prop_oneof![Just(12_u8), Just(21)], any::<Option<u64>>())
        .prop_map(|(size_bits, paddr)| Object::Frame { size_bits, paddr });
    let ports = any::<(u16, u16)>().prop_map(|(a, b)| Object::IoPorts { first: a.min(b), last: a.max(b) });
    let ioapic = any::<(u32, u32, bool, bool, u8)>().prop_map(|(ioapic, pin, level, low, vector)| {
        let trigger = if level { Trigger::Level } else { Trigger::Edge };
        let polarity = if low { Polarity::Low } else { Polarity::High };
        Object::Irq(Irq::Ioapic { ioapic, pin, trigger, polarity, vector })
    });
    let msi =
        (any::<(u8, u32, u8)>(), 0_u8..32, 0_u8..8).prop_map(|((bus, handle, vector), device, function)| {
            Object::Irq(Irq::Msi { bus, device, function, handle, vector })
        });
    prop_oneof![
        tcb,
        frame,
        ports,
        ioapic,
        msi,
        Just(Object::Endpoint),
        Just(Object::Notification),
        Just(Object::Vcpu),
        (1_u8..=16).prop_map(|size_bits| Object::CNode { size_bits }),
    ]
}

fn rights() -> impl Strategy<Value = Rights> {
    any::<(bool, bool, bool)>().prop_map(|(read, write, grant)| Rights { read, write, grant })
}

/// A capability that `object` can have in a CNode.
fn tag(object: Object, badge: u64, rights: Rights, (cached, executable): (bool, bool)) -> Option<Tag> {
    Some(match object {
        Object::Tcb(_) => Tag::Tcb,
        Object::Endpoint => Tag::Endpoint { badge, rights },
        Object::Notification => Tag::Notification { badge, rights },
        Object::Frame { .. } => Tag::Frame { rights, cached, executable },
        Object::Table(_) => Tag::Table,
        Object::Vcpu => Tag::Vcpu { rights },
        Object::IoPorts { .. } => Tag::IoPorts,
        Object::Irq(_) => Tag::Irq,
        Object::CNode { .. } => return None,
    })
}

fn distribution() -> impl Strategy<Value = Distribution> {
    let objects = prop::collection::vec(("[a-zé_]{0,12}", object()), 1..20);
    let slots = prop::collection::vec((any::<(u32, u64, (bool, bool))>(), rights()), 0..20);
    let fills = prop::collection::vec((0_u32..4096, prop::collection::vec(any::<u8>(), 0..64)), 0..5);
    (objects, slots, fills).prop_map(|(objects, slots, fills)| {
        let mut d = Distribution::default();
        let cnode = d.object("cnode", Object::CNode { size_bits: 16 });
        objects.into_iter().for_each(|(name, object)| d.objects.push(Named { name, object }));
        for (i, ((pick, badge, flags), rights)) in slots.into_iter().enumerate() {
            let object = pick as usize % d.objects.len();
            if let Some(tag) = tag(d.objects[object].object, badge, rights, flags) {
                let cap = Cap { object: ObjectId(u32::try_from(object).expect("few")), tag };
                d.slots.push(Slot { holder: cnode, index: u32::try_from(i).expect("few"), cap });
            }
        }
        let frame = d.object("frame", Object::Frame { size_bits: 21, paddr: None });
        d.fills = fills.into_iter().map(|(offset, data)| Fill { frame, offset, data }).collect();
        d
    })
}

/// The distribution that a view shows.
fn read_back(view: &View<'_>) -> Distribution {
    let objects = view.objects().map(|(id, object)| Named { name: view.name(id).to_owned(), object });
    let fills = view.fills().map(|f| Fill { frame: f.frame, offset: f.offset, data: f.data.to_vec() });
    Distribution {
        objects: objects.collect(),
        slots: view.slots().collect(),
        fills: fills.collect(),
        kernel_prints: false,
    }
}

proptest! {
    #[test]
    fn encoding_and_reading_back_changes_nothing(d in distribution()) {
        let bytes = d.encode();
        let view = View::parse(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(read_back(&view), d);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..512), header: bool) {
        if header && bytes.len() >= HEADER_SIZE {
            // As far as the records: the right magic and length, and few of each kind.
            let total = u32::try_from(bytes.len()).expect("short");
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
            for count in [8, 12, 16] {
                let few = [bytes[count] % 4, 0, 0, 0];
                bytes[count..count + 4].copy_from_slice(&few);
            }
            bytes[20..24].copy_from_slice(&total.to_le_bytes());
        }
        if let Ok(view) = View::parse(&bytes) {
            let _ = read_back(&view);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_read(d in distribution(), at: prop::sample::Index, value: u8) {
        let mut bytes = d.encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(view) = View::parse(&bytes) {
            // Names and data may overlap after the change, but every record is sound.
            prop_assert_eq!(read_back(&view).objects.len(), view.object_count() as usize);
        }
    }
}
