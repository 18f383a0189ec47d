//! Which capabilities a system has: those that its description asks for, with the rights that are used, and no
//! others. The slot numbers are those of docs/architecture.md.

mod support;

use capdist::{Object, ObjectId, Rights, Slot, Tag, tcb_slot};
use sdf::Distribution;
use support::System;

const XML: &str = r#"<system>
    <memory_region name="guest_ram" size="0x800000" />
    <memory_region name="shared" size="0x1000" />
    <protection_domain name="vmm" priority="100">
        <program_image path="pd.elf" />
        <map mr="guest_ram" vaddr="0x80000000" />
        <map mr="shared" vaddr="0x70000000" perms="r" />
        <ioport id="2" addr="0x3f8" size="8" />
        <irq id="8" ioapic="0" pin="4" vector="7" trigger="edge" />
        <virtual_machine name="guest">
            <vcpu id="3" />
            <map mr="guest_ram" vaddr="0" perms="rwx" />
        </virtual_machine>
    </protection_domain>
    <protection_domain name="pmu" priority="200">
        <program_image path="pd.elf" />
        <map mr="shared" vaddr="0x70000000" />
        <?pmu-authority vm="guest"?>
    </protection_domain>
    <protection_domain name="parent" priority="5">
        <program_image path="pd.elf" />
        <cspace><cap_vspace slot="9" pd="pmu" /></cspace>
        <protection_domain name="child" id="4" priority="3"><program_image path="pd.elf" /></protection_domain>
    </protection_domain>
    <channel><end pd="vmm" id="1" pp="true" notify="false" /><end pd="pmu" id="6" /></channel>
</system>"#;

const READ: Rights = Rights { read: true, write: false, grant: false };
const WRITE: Rights = Rights { read: false, write: true, grant: false };
const CALL: Rights = Rights { read: false, write: true, grant: true };

fn distribution() -> Distribution {
    System::new(XML, &[]).build().expect("a good system")
}

fn id(d: &Distribution, name: &str) -> ObjectId {
    d.find(name).unwrap_or_else(|| panic!("no object '{name}'"))
}

/// The slots of an object: index, name of what the capability is to, and its tag; sorted.
fn slots<'a>(d: &'a Distribution, holder: &str) -> Vec<(u32, &'a str, Tag)> {
    let holder = id(d, holder);
    let in_holder = d.slots.iter().filter(|slot| slot.holder == holder);
    let name = |slot: &Slot| d.objects[slot.cap.object.0 as usize].name.as_str();
    let mut slots: Vec<_> = in_holder.map(|slot| (slot.index, name(slot), slot.cap.tag)).collect();
    slots.sort_by_key(|(index, ..)| *index);
    slots
}

fn endpoint(badge: u64, rights: Rights) -> Tag {
    Tag::Endpoint { badge, rights }
}

fn notification(badge: u64, rights: Rights) -> Tag {
    Tag::Notification { badge, rights }
}

#[test]
fn the_machine_monitor_can_run_its_vcpu_and_not_program_its_pmu() {
    assert_eq!(
        slots(&distribution(), "cnode_vmm"),
        [
            (1, "ntfn_vmm", notification(0, READ)),
            (2, "ep_fault_monitor", endpoint(1, CALL)),
            (74 + 1, "ep_pmu", endpoint(1 << 63 | 6, CALL)),
            (138 + 8, "irq_7_vmm", Tag::Irq),
            (330 + 3, "vcpu_guest_3", Tag::Vcpu { rights: WRITE }),
            (394 + 2, "ioports_0x3f8_vmm", Tag::IoPorts),
        ]
    );
}

#[test]
fn the_policy_domain_can_program_the_pmu_and_not_run_the_vcpu() {
    let grant = Rights { read: false, write: false, grant: true };
    assert_eq!(
        slots(&distribution(), "cnode_pmu"),
        [
            (1, "ep_pmu", endpoint(0, READ)),
            (2, "ep_fault_monitor", endpoint(2, CALL)),
            (10 + 6, "ntfn_vmm", notification(1 << 1, WRITE)),
            (458 + 6, "vcpu_guest_3", Tag::Vcpu { rights: grant }),
        ]
    );
}

/// The policy domain knows the machine by the channel of its requests: of several, the right is at that one.
#[test]
fn the_pmu_right_is_at_the_channel_of_the_calls() {
    let signals = r#"<channel><end pd="vmm" id="2" /><end pd="pmu" id="5" /></channel><channel>"#;
    let xml = XML.replacen("<channel>", signals, 1);
    let d = System::new(&xml, &[]).build().expect("a good system");
    let rights: Vec<u32> = slots(&d, "cnode_pmu").iter().map(|slot| slot.0).filter(|at| *at >= 458).collect();
    assert_eq!(rights, [458 + 6]);
}

#[test]
fn parents_receive_the_faults_of_their_children_and_control_them() {
    let d = distribution();
    assert_eq!(
        slots(&d, "cnode_parent"),
        [
            (1, "ep_parent", endpoint(0, READ)),
            (2, "ep_fault_monitor", endpoint(3, CALL)),
            (202 + 4, "tcb_child", Tag::Tcb),
            (522 + 9, "pml4_pmu", Tag::Table),
        ]
    );
    assert_eq!(
        slots(&d, "cnode_child"),
        [(1, "ntfn_child", notification(0, READ)), (2, "ep_parent", endpoint(1 << 62 | 4, CALL))]
    );
}

#[test]
fn the_monitor_receives_and_can_print_where_the_kernel_cannot() {
    let receive = (1, "ep_fault_monitor", endpoint(0, READ));
    assert_eq!(slots(&distribution(), "cnode_monitor"), [receive]);
    let release = System::new(XML, &[]).build_for(false).expect("a good system");
    assert_eq!(slots(&release, "cnode_monitor"), [receive, (2, "ioports_0x3f8_monitor", Tag::IoPorts)]);
}

#[test]
fn threads_are_bound_to_what_is_theirs() {
    let d = distribution();
    let bound: Vec<_> = slots(&d, "tcb_vmm").into_iter().map(|(index, name, _)| (index, name)).collect();
    assert_eq!(
        bound,
        [
            (tcb_slot::CSPACE, "cnode_vmm"),
            (tcb_slot::VSPACE, "pml4_vmm"),
            (tcb_slot::IPC_BUFFER, "frame_ipcbuf_vmm"),
            (tcb_slot::BOUND_NOTIFICATION, "ntfn_vmm"),
            (tcb_slot::VCPU, "vcpu_guest_3"),
            (tcb_slot::EPT_ROOT, "pml4_guest"),
        ]
    );
    let priority = |name: &str| match d.objects[id(&d, name).0 as usize].object {
        Object::Tcb(tcb) => (tcb.priority, tcb.fault_handler),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(priority("tcb_vmm"), (100, 2));
    assert_eq!(priority("tcb_child"), (3, 2));
    assert_eq!(priority("tcb_monitor"), (255, 0), "above all, and nobody reports its faults");
    let signal = (0, "ntfn_vmm", notification(1 << 8, WRITE));
    assert_eq!(slots(&d, "irq_7_vmm"), [signal]);
}

#[test]
fn aligned_regions_have_large_pages_in_both_spaces() {
    let d = distribution();
    let frames: Vec<_> = d.objects.iter().filter(|o| o.name.starts_with("frame_mr_guest_ram")).collect();
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|frame| frame.object == Object::Frame { size_bits: 21, paddr: None }));
    let guest: Vec<_> =
        slots(&d, "pd_guest_vaddr_0x0").into_iter().map(|(index, name, _)| (index, name)).collect();
    let name = |i: u32| format!("frame_mr_guest_ram_{i:09}");
    assert_eq!(guest, [(0, &*name(0)), (1, &*name(1)), (2, &*name(2)), (3, &*name(3))]);
    assert_eq!(slots(&d, "pd_vmm_vaddr_0x80000000").len(), 4);
}

#[test]
fn mappings_have_the_rights_that_the_description_gives() {
    let d = distribution();
    let shared = |pd: &str| {
        let table = slots(&d, &format!("pt_{pd}_vaddr_0x70000000"));
        table.into_iter().map(|(_, name, tag)| (name, tag)).collect::<Vec<_>>()
    };
    let tag = |write| Tag::Frame {
        rights: Rights { read: true, write, grant: false },
        cached: true,
        executable: false,
    };
    assert_eq!(shared("vmm"), [("frame_mr_shared_000000000", tag(false))]);
    assert_eq!(shared("pmu"), [("frame_mr_shared_000000000", tag(true))]);
}

#[test]
fn no_domain_shares_memory_that_is_not_declared() {
    let d = distribution();
    let is_table = |slot: &&Slot| matches!(d.objects[slot.holder.0 as usize].object, Object::Table(_));
    let mut mapped: Vec<&str> = d
        .slots
        .iter()
        .filter(is_table)
        .map(|slot| d.objects[slot.cap.object.0 as usize].name.as_str())
        .collect();
    mapped.sort_unstable();
    let twice: Vec<_> = mapped.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    let declared =
        |name: &&str| name.starts_with("frame_mr_guest_ram") || name.starts_with("frame_mr_shared");
    assert_eq!(twice.iter().filter(|name| !declared(name)).count(), 0, "{twice:?}");
    assert_eq!(twice.len(), 5, "four pages of the guest's memory and the shared one");
}
