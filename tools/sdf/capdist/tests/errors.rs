//! Whatever is wrong with the bytes has a name and a place.

use capdist::{
    Cap, Error, HEADER_SIZE, Object, ObjectId, Rights, Slot, Span, Table, Tag, Tcb, View, encode_fill,
    encode_header, encode_object, encode_slot, tcb_slot,
};

const NAME: &[u8] = b"name";

/// A distribution with these records; every object's name and every fill's data is [`NAME`].
fn encode(objects: &[Object], slots: &[Slot], fills: &[(u32, u32)]) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).expect("few records");
    let tables = HEADER_SIZE + objects.len() * 48 + slots.len() * 24 + fills.len() * 16;
    let name = Span { start: count(tables), length: count(NAME.len()) };
    let total = count(tables + NAME.len());
    let mut bytes =
        encode_header(count(objects.len()), count(slots.len()), count(fills.len()), total).to_vec();
    objects.iter().for_each(|object| bytes.extend(encode_object(object, name)));
    slots.iter().for_each(|slot| bytes.extend(encode_slot(slot)));
    fills.iter().for_each(|(frame, offset)| bytes.extend(encode_fill(ObjectId(*frame), *offset, name)));
    bytes.extend(NAME);
    bytes
}

fn error(bytes: &[u8]) -> Option<Error> {
    View::parse(bytes).err()
}

const CNODE: Object = Object::CNode { size_bits: 2 };
const FRAME: Object = Object::Frame { size_bits: 12, paddr: None };

fn table(ept: bool, level: u8, root: u32, address: u64) -> Object {
    Object::Table(Table { ept, level, root: ObjectId(root), address })
}

fn slot(holder: u32, index: u32, object: u32, tag: Tag) -> Slot {
    Slot { holder: ObjectId(holder), index, cap: Cap { object: ObjectId(object), tag } }
}

const MAPPED: Tag = Tag::Frame { rights: Rights::READ_WRITE, cached: true, executable: false };

#[test]
fn a_good_one_is_read_as_written() {
    let bytes = encode(&[CNODE, FRAME], &[slot(0, 3, 1, MAPPED)], &[(1, 4092)]);
    let view = View::parse(&bytes).expect("well-formed");
    assert_eq!(view.object_count(), 2);
    assert_eq!(view.object(ObjectId(1)), Some(FRAME));
    assert_eq!(view.object(ObjectId(2)), None);
    assert_eq!((view.name(ObjectId(0)), view.name(ObjectId(2))), ("name", ""));
    assert_eq!(view.slots().collect::<Vec<_>>(), [slot(0, 3, 1, MAPPED)]);
    let fills: Vec<_> = view.fills().map(|fill| (fill.frame, fill.offset, fill.data)).collect();
    assert_eq!(fills, [(ObjectId(1), 4092, NAME)]);
}

#[test]
fn magic_and_length() {
    let good = encode(&[FRAME], &[], &[]);
    assert_eq!(error(&[]), Some(Error::Magic));
    assert_eq!(error(&good[1..]), Some(Error::Magic));
    assert_eq!(error(&good[..good.len() - 1]), Some(Error::Length));
    assert_eq!(error(&[&good[..], &[0]].concat()), Some(Error::Length));
    let many = encode_header(u32::MAX, u32::MAX, u32::MAX, 24);
    assert_eq!(error(&many), Some(Error::Length));
}

#[test]
fn objects_names_and_roots() {
    let mut bytes = encode(&[FRAME, FRAME], &[], &[]);
    bytes[HEADER_SIZE + 48] = 200;
    assert_eq!(error(&bytes), Some(Error::Object(1)), "a kind that does not exist");
    let mut bytes = encode(&[CNODE], &[], &[]);
    bytes[HEADER_SIZE + 16] = 1;
    assert_eq!(error(&bytes), Some(Error::Object(0)), "a word that means nothing for a CNode");
    assert_eq!(error(&encode(&[Object::CNode { size_bits: 17 }], &[], &[])), Some(Error::Object(0)));
    assert_eq!(
        error(&encode(&[Object::Frame { size_bits: 13, paddr: None }], &[], &[])),
        Some(Error::Object(0))
    );
    let mut bytes = encode(&[FRAME], &[], &[]);
    bytes[HEADER_SIZE + 40] += 1;
    assert_eq!(error(&bytes), Some(Error::Name(0)), "beyond the end");
    let mut bytes = encode(&[FRAME], &[], &[]);
    *bytes.last_mut().expect("not empty") = 0xff;
    assert_eq!(error(&bytes), Some(Error::Name(0)), "no UTF-8");
    assert_eq!(error(&encode(&[table(false, 1, 0, 0)], &[], &[])), Some(Error::Root(0)), "is its own root");
    assert_eq!(error(&encode(&[table(false, 1, 9, 0)], &[], &[])), Some(Error::Root(0)), "no such root");
    let roots = [table(false, 0, 0, 0), table(true, 1, 0, 0)];
    assert_eq!(error(&encode(&roots, &[], &[])), Some(Error::Root(1)), "an EPT table in a VSpace");
    let unaligned = [table(false, 0, 0, 0), table(false, 3, 0, 0x1000)];
    assert_eq!(error(&encode(&unaligned, &[], &[])), Some(Error::Root(1)));
}

#[test]
fn slots_are_where_they_can_be() {
    let objects = [
        CNODE,
        FRAME,
        table(false, 0, 2, 0),
        table(false, 1, 2, 1 << 39),
        Object::Endpoint,
        Object::Tcb(Tcb { ipc_buffer: 0, entry: 0, stack: 0, priority: 1, fault_handler: 2 }),
    ];
    let with = |slot| error(&encode(&objects, &[slot], &[]));
    let endpoint = Tag::Endpoint { badge: 7, rights: Rights::ALL };
    assert_eq!(with(slot(0, 3, 4, endpoint)), None);
    assert_eq!(with(slot(0, 4, 4, endpoint)), Some(Error::Holder(0)), "a CNode of 4 slots");
    assert_eq!(with(slot(1, 0, 4, endpoint)), Some(Error::Holder(0)), "a frame has no slots");
    assert_eq!(with(slot(9, 0, 4, endpoint)), Some(Error::Holder(0)));
    assert_eq!(with(slot(0, 0, 9, endpoint)), Some(Error::Cap(0)));
    assert_eq!(with(slot(0, 0, 1, endpoint)), Some(Error::Cap(0)), "an endpoint capability to a frame");
    assert_eq!(with(slot(0, 0, 0, Tag::CNode { guard_size: 62 })), Some(Error::Cap(0)), "a CNode in a CNode");
    assert_eq!(with(slot(2, 1, 3, Tag::Table)), None);
    assert_eq!(with(slot(2, 2, 3, Tag::Table)), Some(Error::Cap(0)), "at another address");
    assert_eq!(with(slot(2, 0, 1, MAPPED)), Some(Error::Cap(0)), "a frame in a root");
    assert_eq!(with(slot(2, 0, 4, endpoint)), Some(Error::Cap(0)), "an endpoint in a table");
    assert_eq!(with(slot(5, tcb_slot::CSPACE, 0, Tag::CNode { guard_size: 62 })), None);
    assert_eq!(with(slot(5, tcb_slot::VSPACE, 2, Tag::Table)), None);
    assert_eq!(with(slot(5, tcb_slot::VSPACE, 3, Tag::Table)), Some(Error::Cap(0)), "no root");
    assert_eq!(with(slot(5, tcb_slot::EPT_ROOT, 2, Tag::Table)), Some(Error::Cap(0)), "no EPT");
    assert_eq!(with(slot(5, tcb_slot::IPC_BUFFER, 0, Tag::CNode { guard_size: 62 })), Some(Error::Cap(0)));
    let mut bytes = encode(&objects, &[slot(0, 0, 4, endpoint)], &[]);
    bytes[HEADER_SIZE + objects.len() * 48 + 12] = 77;
    assert_eq!(error(&bytes), Some(Error::Slot(0)), "a kind that does not exist");
}

#[test]
fn fills_are_inside_their_frames() {
    assert_eq!(error(&encode(&[FRAME], &[], &[(0, 4093)])), Some(Error::Fill(0)), "4 bytes from 4093");
    assert_eq!(error(&encode(&[CNODE], &[], &[(0, 0)])), Some(Error::Fill(0)), "no frame");
    let mut bytes = encode(&[FRAME], &[], &[(0, 0)]);
    bytes[HEADER_SIZE + 48 + 12] = 5;
    assert_eq!(error(&bytes), Some(Error::Fill(0)), "one byte beyond the end");
}
