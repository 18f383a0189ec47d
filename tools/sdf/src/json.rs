//! The distribution as JSON, shaped like what the Microkit tool writes with `--capdl-json`, so that one reader
//! serves both. Differences: VCPU capabilities carry rights, CNodes are one level, and the frames' contents are
//! given by their lengths only.

use crate::distribution::{Distribution, Named};
use capdist::{Cap, Irq, Object, ObjectId, Polarity, Rights, Slot, Tag, Trigger, tcb_slot};
use serde_json::{Value, json};

/// The slot of a TCB in which Microkit's output shows the fault endpoint.
const FAULT_ENDPOINT_SLOT: u32 = 5;

impl Distribution {
    /// The distribution as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let objects = (0..).map(ObjectId).zip(&self.objects).map(|(id, named)| self.object_json(id, named));
        let objects: Vec<Value> = objects.collect();
        json!({
            "root_objects": { "start": 0, "end": objects.len() },
            "objects": objects,
            "irqs": self.irqs_json(),
            "asid_slots": [],
            "untyped_covers": [],
        })
    }

    fn object_json(&self, id: ObjectId, named: &Named) -> Value {
        let object = match named.object {
            Object::Endpoint => json!("Endpoint"),
            Object::Notification => json!("Notification"),
            Object::Vcpu => json!("VCpu"),
            Object::CNode { size_bits } => {
                json!({ "CNode": { "size_bits": size_bits, "slots": self.slots_json(id) } })
            }
            Object::Frame { size_bits, paddr } => {
                let fills = self.fills.iter().filter(|fill| fill.frame == id).map(|fill| {
                    let end = fill.offset as usize + fill.data.len();
                    let content = json!({ "Data": { "Length": fill.data.len() } });
                    json!({ "range": { "start": fill.offset, "end": end }, "content": content })
                });
                let entries: Vec<Value> = fills.collect();
                json!({ "Frame": { "size_bits": size_bits, "paddr": paddr, "init": { "entries": entries } } })
            }
            Object::Table(table) => json!({ "PageTable": {
                "x86_ept": table.ept,
                "is_root": table.level == 0,
                "level": table.level,
                "slots": self.slots_json(id),
            } }),
            Object::IoPorts { first, last } => {
                json!({ "IOPorts": { "start_port": first, "end_port": last } })
            }
            Object::Irq(irq) => self.irq_json(id, irq),
            Object::Tcb(tcb) => {
                let mut slots = self.slots_json(id);
                slots.extend(self.fault_endpoint(id, tcb.fault_handler));
                json!({ "Tcb": { "slots": slots, "extra": {
                    "ipc_buffer_addr": tcb.ipc_buffer,
                    "affinity": 0,
                    "prio": tcb.priority,
                    "max_prio": tcb.priority,
                    "fpu_disabled": false,
                    "resume": true,
                    "domain": null,
                    "ip": tcb.entry,
                    "sp": tcb.stack,
                    "gprs": [],
                    "master_fault_ep": tcb.fault_handler,
                } } })
            }
        };
        json!({ "name": named.name, "object": object })
    }

    fn irq_json(&self, id: ObjectId, irq: Irq) -> Value {
        let slots = self.slots_json(id);
        match irq {
            Irq::Ioapic { ioapic, pin, trigger, polarity, .. } => {
                json!({ "IrqIOApic": { "slots": slots, "extra": {
                    "ioapic": ioapic,
                    "pin": pin,
                    "level": u8::from(trigger == Trigger::Level),
                    "polarity": u8::from(polarity == Polarity::Low),
                } } })
            }
            Irq::Msi { bus, device, function, handle, .. } => {
                json!({ "IrqMsi": { "slots": slots, "extra": {
                    "pci_bus": bus,
                    "pci_dev": device,
                    "pci_func": function,
                    "handle": handle,
                } } })
            }
        }
    }

    fn irqs_json(&self) -> Vec<Value> {
        let irqs = (0_u32..).zip(&self.objects).filter_map(|(id, named)| match named.object {
            Object::Irq(Irq::Ioapic { vector, .. } | Irq::Msi { vector, .. }) => {
                Some(json!({ "irq": vector, "handler": id }))
            }
            _ => None,
        });
        irqs.collect()
    }

    fn slots_json(&self, holder: ObjectId) -> Vec<Value> {
        let slots = self.slots.iter().filter(|slot| slot.holder == holder);
        slots.map(|slot| self.slot_json(slot.index, &slot.cap)).collect()
    }

    /// What lies where the thread's faults go, found through its CSpace.
    fn fault_endpoint(&self, tcb: ObjectId, place: u16) -> Option<Value> {
        let find = |holder, index| {
            self.slots.iter().find(|slot: &&Slot| slot.holder == holder && slot.index == index)
        };
        let cnode = find(tcb, tcb_slot::CSPACE)?.cap.object;
        let slot = find(cnode, place.into())?;
        Some(self.slot_json(FAULT_ENDPOINT_SLOT, &slot.cap))
    }

    fn slot_json(&self, index: u32, cap: &Cap) -> Value {
        let object = cap.object.0;
        let cap = match cap.tag {
            Tag::Tcb => json!({ "Tcb": { "object": object } }),
            Tag::Endpoint { badge, rights } => {
                json!({ "Endpoint": { "object": object, "badge": badge, "rights": rights_json(rights) } })
            }
            Tag::Notification { badge, rights } => {
                json!({ "Notification": { "object": object, "badge": badge, "rights": rights_json(rights) } })
            }
            Tag::CNode { guard_size } => {
                json!({ "CNode": { "object": object, "guard": 0, "guard_size": guard_size } })
            }
            Tag::Frame { rights, cached, executable } => json!({ "Frame": {
            "object": object,
            "rights": rights_json(rights),
            "cached": cached,
            "executable": executable,
        } }),
            Tag::Table => json!({ "PageTable": { "object": object } }),
            Tag::Vcpu { rights } => json!({ "VCpu": { "object": object, "rights": rights_json(rights) } }),
            Tag::IoPorts => json!({ "IOPorts": { "object": object } }),
            Tag::Irq => match self.objects[object as usize].object {
                Object::Irq(Irq::Msi { .. }) => json!({ "IrqMsiHandler": { "object": object } }),
                _ => json!({ "IrqIOApicHandler": { "object": object } }),
            },
        };
        json!({ "slot": index, "cap": cap })
    }
}

fn rights_json(rights: Rights) -> Value {
    json!({
        "read": rights.read,
        "write": rights.write,
        "grant": rights.grant,
        "grant_reply": false,
    })
}
