//! Isolation facts on a capability distribution, in the JSON of the Microkit tool (`--capdl-json`) or ours
//! (`cargo xtask image --capdl`).
//!
//! A *subject* is a thread with everything that its CSpace, its address space and its guest's memory reach. The
//! closure theorem of tests/spec/coq/Authority.v says why it is enough to look at the distribution: capabilities
//! move only inside the islands computed here.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A capability in a thread's CSpace.
#[derive(Clone, Debug)]
pub struct Held {
    /// The object's index.
    pub object: u64,
    /// The kind as in the JSON, "Endpoint" for one.
    pub kind: String,
    /// Receive or read.
    pub read: bool,
    /// Send or write; for a VCPU of our kernel, run.
    pub write: bool,
    /// Send capabilities; for a VCPU of our kernel, its PMU.
    pub grant: bool,
    /// Whether the JSON gives rights at all.
    pub has_rights: bool,
}

/// A thread and what it reaches.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Index of its TCB.
    pub tcb: u64,
    /// Index of the root of its address space.
    pub vspace: Option<u64>,
    /// CNodes of its CSpace.
    pub cnodes: BTreeSet<u64>,
    /// Capabilities that it can name.
    pub held: Vec<Held>,
    /// Frames in its address space, or that it holds a capability to and so could map, and whether it may write them.
    pub frames: BTreeMap<u64, bool>,
    /// Frames in its guest's memory, and whether the guest may write them.
    pub guest_frames: BTreeMap<u64, bool>,
}

/// A distribution, read.
#[derive(Clone, Debug)]
pub struct Distribution {
    names: Vec<String>,
    /// The threads by name without "tcb_".
    pub subjects: BTreeMap<String, Subject>,
}

/// Slots of a TCB.
mod tcb_slot {
    pub const CSPACE: u64 = 0;
    pub const VSPACE: u64 = 1;
    pub const EPT: u64 = 10;
}

/// Kind and content of an object or a capability: `{"Kind": content}` or `"Kind"`.
fn tagged(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::String(kind) => Some((kind, &Value::Null)),
        _ => value.as_object()?.iter().next().map(|(kind, content)| (kind.as_str(), content)),
    }
}

struct Reader<'a> {
    objects: Vec<(&'a str, &'a Value)>,
}

impl<'a> Reader<'a> {
    fn slots(&self, object: u64) -> Vec<(u64, &'a str, &'a Value)> {
        let content =
            usize::try_from(object).ok().and_then(|i| self.objects.get(i)).map(|(_, content)| *content);
        let slots = content.and_then(|c| c["slots"].as_array()).map_or(&[][..], Vec::as_slice);
        slots
            .iter()
            .filter_map(|s| Some((s["slot"].as_u64()?, tagged(&s["cap"])?)))
            .map(|(i, (k, c))| (i, k, c))
            .collect()
    }

    /// Every leaf of a CSpace; every CNode on the way.
    fn cspace(&self, cnode: u64, subject: &mut Subject) {
        if !subject.cnodes.insert(cnode) {
            return;
        }
        for (_, kind, cap) in self.slots(cnode) {
            let Some(object) = cap["object"].as_u64() else { continue };
            let right = |name: &str| cap["rights"][name].as_bool().unwrap_or(true);
            let guard = cap["guard_size"].as_u64().unwrap_or(0);
            // A CNode with a guard is a further level of the CSpace; without one it can be named as such.
            if kind == "CNode" && guard > 0 {
                self.cspace(object, subject);
                continue;
            }
            if kind == "Frame" {
                *subject.frames.entry(object).or_default() |= right("write");
            }
            subject.held.push(Held {
                object,
                kind: kind.to_owned(),
                read: right("read"),
                write: right("write"),
                grant: right("grant"),
                has_rights: cap["rights"].is_object(),
            });
        }
    }

    fn frames(&self, table: u64, found: &mut BTreeMap<u64, bool>) {
        for (_, kind, cap) in self.slots(table) {
            let Some(object) = cap["object"].as_u64() else { continue };
            match kind {
                "Frame" => {
                    *found.entry(object).or_default() |= cap["rights"]["write"].as_bool().unwrap_or(true)
                }
                _ => self.frames(object, found),
            }
        }
    }
}

impl Distribution {
    /// Reads the JSON.
    ///
    /// # Errors
    /// What is missing in it.
    pub fn read(json: &Value) -> Result<Self, String> {
        let objects = json["objects"].as_array().ok_or("the distribution has no objects")?;
        let names: Vec<String> =
            objects.iter().map(|o| o["name"].as_str().unwrap_or_default().to_owned()).collect();
        let contents: Option<Vec<_>> = objects.iter().map(|o| tagged(&o["object"])).collect();
        let reader = Reader { objects: contents.ok_or("an object of the distribution has no kind")? };
        let mut subjects = BTreeMap::new();
        for (id, (name, (kind, _))) in (0..).zip(names.iter().zip(&reader.objects)) {
            let Some(short) = name.strip_prefix("tcb_").filter(|_| *kind == "Tcb") else { continue };
            let mut subject = Subject { tcb: id, ..Subject::default() };
            for (slot, _, cap) in reader.slots(id) {
                let Some(object) = cap["object"].as_u64() else { continue };
                match slot {
                    tcb_slot::CSPACE => reader.cspace(object, &mut subject),
                    tcb_slot::VSPACE => {
                        subject.vspace = Some(object);
                        reader.frames(object, &mut subject.frames);
                    }
                    tcb_slot::EPT => reader.frames(object, &mut subject.guest_frames),
                    _ => {}
                }
            }
            subjects.insert(short.to_owned(), subject);
        }
        Ok(Self { names, subjects })
    }

    fn subject(&self, name: &str) -> Result<&Subject, String> {
        self.subjects.get(name).ok_or_else(|| format!("there is no thread '{name}'"))
    }

    fn name(&self, object: u64) -> &str {
        usize::try_from(object).ok().and_then(|i| self.names.get(i)).map_or("?", String::as_str)
    }

    /// Whether thread `name` may receive from endpoint `object`.
    fn receives(&self, name: &str, object: u64) -> bool {
        let held = self.subjects.get(name).map_or(&[][..], |subject| &subject.held);
        held.iter().any(|c| c.object == object && c.kind == "Endpoint" && c.read)
    }

    /// Whether a capability could pass between two islands, if each subject held what any of its island holds: an
    /// endpoint of both over which one may send capabilities while one has a CNode to receive them into; or
    /// power over the other's CSpace, address space or thread. (`linked` over `pool` in Authority.v.)
    fn linked(a: &[&Subject], b: &[&Subject]) -> bool {
        let held = |side: &[&Subject]| side.iter().flat_map(|x| x.held.clone()).collect::<Vec<Held>>();
        let (held_a, held_b) = (held(a), held(b));
        let power = |holder: &[Held], over: &[&Subject]| {
            holder.iter().any(|c| match c.kind.as_str() {
                "CNode" => over.iter().any(|y| y.cnodes.contains(&c.object)),
                "Tcb" => over.iter().any(|y| c.object == y.tcb),
                "PageTable" => over.iter().any(|y| Some(c.object) == y.vspace),
                _ => false,
            })
        };
        let receives = held_a.iter().chain(&held_b).any(|c| c.kind == "CNode");
        let endpoint = held_a.iter().filter(|c| c.kind == "Endpoint").any(|c| {
            held_b.iter().any(|d| d.kind == "Endpoint" && d.object == c.object && (c.grant || d.grant))
        });
        power(&held_a, b) || power(&held_b, a) || endpoint && receives
    }

    /// The take-grant closure: the threads, those `trusted` apart, in their islands.
    pub fn islands(&self, trusted: &[&str]) -> Vec<Vec<&str>> {
        let names = self.subjects.keys().map(String::as_str).filter(|name| !trusted.contains(name));
        let mut islands: Vec<Vec<&str>> = names.map(|name| vec![name]).collect();
        let members =
            |island: &[&str]| -> Vec<&Subject> { island.iter().map(|name| &self.subjects[*name]).collect() };
        let find = |islands: &[Vec<&str>]| {
            let pairs = (0..islands.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
            pairs.into_iter().find(|(i, j)| Self::linked(&members(&islands[*i]), &members(&islands[*j])))
        };
        while let Some((i, j)) = find(&islands) {
            let merged = islands.remove(j);
            islands[i].extend(merged);
        }
        islands
    }
}

/// What a system is supposed to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The policy domain.
    pub policy: &'a str,
    /// The VMM.
    pub vmm: &'a str,
    /// Memory regions that both may map; the policy domain alone may write them.
    pub shared: &'a [&'a str],
    /// Threads that are trusted to pass no capability on: the closure leaves them out.
    pub trusted: &'a [&'a str],
    /// VCPU capabilities carry the rights of our kernel.
    pub rights: bool,
}

/// A fact, by the name that docs/assurance.md uses.
pub type Fact = (&'static str, fn(&Distribution, &Expected<'_>) -> Result<(), String>);

/// Every fact.
pub const FACTS: &[Fact] = &[
    ("no-device", no_device),
    ("memory", memory),
    ("one-endpoint", one_endpoint),
    ("guest-memory", guest_memory),
    ("islands", islands),
    ("pmu-right", pmu_right),
];

/// The policy domain has no I/O port, no interrupt, no untyped memory.
fn no_device(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    const KINDS: [&str; 4] = ["IOPorts", "IrqIOApicHandler", "IrqMsiHandler", "Untyped"];
    let held = &d.subject(e.policy)?.held;
    match held.iter().find(|c| KINDS.contains(&c.kind.as_str()) || c.kind.starts_with("Irq")) {
        None => Ok(()),
        Some(c) => Err(format!("'{}' has a capability {} to {}", e.policy, c.kind, d.name(c.object))),
    }
}

/// No frame is in both address spaces, or could be mapped there, but those of the declared regions, and those only the policy domain writes.
fn memory(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    let (policy, vmm) = (d.subject(e.policy)?, d.subject(e.vmm)?);
    for (frame, written) in &vmm.frames {
        let declared = e.shared.iter().any(|region| {
            let rest = d.name(*frame).strip_prefix("frame_mr_").and_then(|n| n.strip_prefix(region));
            rest.is_some_and(|rest| rest.starts_with('_'))
        });
        if policy.frames.contains_key(frame) && (!declared || *written) {
            return Err(format!("'{}' and '{}' both reach {}", e.policy, e.vmm, d.name(*frame)));
        }
    }
    Ok(())
}

/// The VMM reaches the policy domain by one endpoint, of which the policy domain alone receives; they share no
/// notification. The endpoint of a trusted thread is left out: who holds it with receive could receive what others send
/// there, and whether it does is its program's doing.
fn one_endpoint(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    let (policy, vmm) = (d.subject(e.policy)?, d.subject(e.vmm)?);
    let channels: Vec<&Held> = vmm
        .held
        .iter()
        .filter(|c| c.kind == "Endpoint" || c.kind == "Notification")
        .filter(|c| !e.trusted.iter().any(|t| d.receives(t, c.object)))
        .filter(|c| {
            let same = |p: &&Held| p.object == c.object && (p.kind == "Notification" || p.read);
            let bound = d.name(c.object) == format!("ntfn_{}", e.policy);
            policy.held.iter().any(|p| same(&p)) || bound
        })
        .collect();
    let input = format!("ep_{}", e.policy);
    match channels[..] {
        [c] if c.kind == "Endpoint" && d.name(c.object) == input => Ok(()),
        _ => {
            let names: Vec<&str> = channels.iter().map(|c| d.name(c.object)).collect();
            Err(format!("'{}' reaches '{}' by [{}], not by {input} alone", e.vmm, e.policy, names.join(", ")))
        }
    }
}

/// No frame of the guest's memory is in the policy domain's address space, and none is of a region that the
/// policy domain maps.
fn guest_memory(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    let (policy, vmm) = (d.subject(e.policy)?, d.subject(e.vmm)?);
    if vmm.guest_frames.is_empty() {
        return Err(format!("'{}' has no guest", e.vmm));
    }
    match vmm.guest_frames.keys().find(|frame| policy.frames.contains_key(frame)) {
        None => Ok(()),
        Some(frame) => Err(format!("the guest reaches {} of '{}'", d.name(*frame), e.policy)),
    }
}

/// The policy domain is an island of its own.
fn islands(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    d.subject(e.policy)?;
    match d.islands(e.trusted).into_iter().find(|island| island.contains(&e.policy)) {
        Some(island) if island.len() == 1 => Ok(()),
        _ => Err(format!("capabilities can pass between '{}' and others", e.policy)),
    }
}

/// The PMU right is the policy domain's alone, the run right the VMM's alone.
fn pmu_right(d: &Distribution, e: &Expected<'_>) -> Result<(), String> {
    let mut programs = Vec::new();
    for (name, subject) in &d.subjects {
        for c in subject.held.iter().filter(|c| c.kind == "VCpu") {
            if e.rights && !c.has_rights {
                return Err(format!("'{name}' has a VCPU capability without rights"));
            }
            if e.rights && c.grant {
                programs.push(name.as_str());
            }
            if c.write && name != e.vmm {
                return Err(format!("'{name}' may run {}", d.name(c.object)));
            }
        }
    }
    if !e.rights || programs == [e.policy] {
        Ok(())
    } else {
        Err(format!("the PMU right is with [{}], not with '{}' alone", programs.join(", "), e.policy))
    }
}
