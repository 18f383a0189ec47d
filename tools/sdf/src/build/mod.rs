//! The model and its programs to a capability distribution.

mod caps;
mod monitor;
mod patch;
mod space;

use crate::distribution::{Distribution, length};
use crate::error::Error;
use crate::files;
use crate::model::{Domain, LARGE_PAGE, Map, Region, SMALL_PAGE, STACK_TOP, System, USER_TOP};
use crate::program::Program;
use crate::slots::{ADDRESS_BITS, CNODE_BITS, FAULT};
use capdist::{Object, ObjectId, Rights, Tag, Tcb, tcb_slot};
use space::Space;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What the system runs on, besides the description.
#[derive(Clone, Debug)]
pub struct Options {
    /// The monitor's ELF file (package `initialiser`).
    pub monitor: PathBuf,
    /// Whether the kernel prints (debug). If not, the monitor gets the I/O ports of COM1.
    pub kernel_prints: bool,
}

/// The symbol of the page that is a program's IPC buffer.
const IPC_BUFFER: &str = "__sel4_ipc_buffer_obj";
/// The symbol of the instruction where a program goes on that has faulted.
const ENDING: &str = "pd_ending";
/// The symbols of a program's stacks, each of which begins with a page that is not mapped.
const STACKS: [&str; 2] = ["pd_stack", "pd_last_stack"];

/// Makes the distribution of a checked system.
pub(crate) fn build(
    system: &System,
    file: &Path,
    search: &[PathBuf],
    options: &Options,
) -> Result<Distribution, Error> {
    let mut distribution = Distribution { kernel_prints: options.kernel_prints, ..Distribution::default() };
    let regions = regions(system, &mut distribution);
    let faults = distribution.object("ep_fault_monitor", Object::Endpoint);
    let mut builder = Builder { system, file, distribution, regions, faults, domains: Vec::new() };
    for domain in &system.domains {
        let ids = builder.domain(domain, search)?;
        builder.domains.push(ids);
    }
    builder.capabilities();
    monitor::add(&mut builder, options)?;
    Ok(builder.distribution)
}

/// The objects of a protection domain that others refer to.
#[derive(Clone, Copy)]
struct Ids {
    tcb: ObjectId,
    cnode: ObjectId,
    vspace: ObjectId,
    notification: ObjectId,
    endpoint: Option<ObjectId>,
    vcpu: Option<ObjectId>,
    /// Where its program goes on when it has faulted; 0: nowhere.
    ending: u64,
}

struct Builder<'a> {
    system: &'a System,
    file: &'a Path,
    distribution: Distribution,
    /// Each region's frames.
    regions: HashMap<&'a str, Vec<ObjectId>>,
    /// The monitor's endpoint.
    faults: ObjectId,
    domains: Vec<Ids>,
}

/// The frames of every region, filled.
fn regions<'a>(system: &'a System, distribution: &mut Distribution) -> HashMap<&'a str, Vec<ObjectId>> {
    let mut regions = HashMap::new();
    for region in &system.regions {
        let frames = (0..region.size / region.page_size).map(|i| frame(region, i, distribution));
        regions.insert(region.name.as_str(), frames.collect());
    }
    regions
}

fn frame(region: &Region, index: u64, distribution: &mut Distribution) -> ObjectId {
    let size_bits = page_bits(region.page_size);
    let start = index * region.page_size;
    let object = Object::Frame { size_bits, paddr: region.physical.map(|base| base + start) };
    let frame = distribution.object(format!("frame_mr_{}_{index:09}", region.name), object);
    let bytes = region.prefill.as_deref().unwrap_or_default();
    let at = |offset: u64| bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
    distribution.fill(frame, 0, &bytes[at(start)..at(start + region.page_size)]);
    frame
}

fn page_bits(page_size: u64) -> u8 {
    if page_size == LARGE_PAGE { capdist::LARGE_PAGE_BITS } else { capdist::SMALL_PAGE_BITS }
}

impl Builder<'_> {
    /// Makes a protection domain's objects and memory.
    fn domain(&mut self, domain: &Domain, search: &[PathBuf]) -> Result<Ids, Error> {
        let name = &domain.name;
        let receives = self.receives(self.domains.len());
        let error = |reason: String| Error::line(self.file, domain.program.line, reason);
        let find = |path: &Path| {
            files::find(path, search).ok_or_else(|| {
                error(format!(
                    "program image '{}' is in no search path; name its folder by --search",
                    path.display()
                ))
            })
        };
        let path = find(&domain.program.path)?;
        let symbols = domain.program.symbols.as_deref().map(find).transpose()?;
        let mut program = Program::read(&path, symbols.as_deref())?;
        patch::patch(self.system, domain, &mut program, self.file)?;

        let mut space = self.memory(domain, &program)?;
        let d = &mut self.distribution;
        let cnode = d.object(format!("cnode_{name}"), Object::CNode { size_bits: CNODE_BITS });
        let notification = d.object(format!("ntfn_{name}"), Object::Notification);
        let mut thread = Thread {
            name,
            program: &program,
            space: &mut space,
            cnode,
            cnode_bits: CNODE_BITS,
            priority: domain.priority,
            fault_handler: u16::try_from(FAULT).unwrap_or_default(),
        };
        let tcb = thread.add(d).map_err(error)?;
        let all = Tag::Notification { badge: 0, rights: Rights::READ_WRITE };
        d.slot(tcb, tcb_slot::BOUND_NOTIFICATION, notification, all);
        let endpoint = receives.then(|| d.object(format!("ep_{name}"), Object::Endpoint));
        let vcpu = self.machine(domain, tcb);
        let ending = program.symbol(ENDING)?.map_or(0, |(address, _)| address);
        Ok(Ids { tcb, cnode, vspace: space.root(), notification, endpoint, vcpu, ending })
    }

    /// Whether a protection domain receives messages, not signals only.
    fn receives(&self, index: usize) -> bool {
        let system = self.system;
        let called = |(from, to): (&crate::model::End, &crate::model::End)| from.call && to.domain == index;
        system.domains.iter().any(|d| d.parent.is_some_and(|p| p.domain == index))
            || system.channels.iter().any(|channel| channel.directions().into_iter().any(called))
    }

    /// A protection domain's VSpace: the program, its maps and its stack.
    fn memory(&mut self, domain: &Domain, program: &Program) -> Result<Space, Error> {
        let d = &mut self.distribution;
        let mut space = Space::new(d, &domain.name, false);
        let pages = program.pages();
        for map in &domain.maps {
            let size = self.system.region(&map.region).map_or(0, |region| region.size);
            if let Some((page, _)) = pages.range(..map.address + size).next_back()
                && page + SMALL_PAGE > map.address
            {
                let reason = format!(
                    "map: '{}' at {:#x} overlaps with the program of '{}' at {page:#x}",
                    map.region, map.address, domain.name
                );
                return Err(Error::line(self.file, map.line, reason));
            }
        }
        program_pages(d, &mut space, program, &domain.name, domain.map_end())
            .map_err(|reason| Error::line(self.file, domain.program.line, reason))?;
        for map in &domain.maps {
            map_region(d, &mut space, map, &self.regions[map.region.as_str()]);
        }
        for page in 0..domain.stack_size / SMALL_PAGE {
            let object = Object::Frame { size_bits: capdist::SMALL_PAGE_BITS, paddr: None };
            let frame = d.object(format!("frame_{}_stack_{page:09}", domain.name), object);
            space.map(d, frame, domain.map_end() + page * SMALL_PAGE, frame_tag(true, true, false, true));
        }
        Ok(space)
    }

    /// A protection domain's virtual machine: vCPU and guest memory, bound to its thread.
    fn machine(&mut self, domain: &Domain, tcb: ObjectId) -> Option<ObjectId> {
        let machine = domain.machine.as_ref()?;
        let d = &mut self.distribution;
        let vcpu = d.object(format!("vcpu_{}_{}", machine.name, machine.vcpu), Object::Vcpu);
        d.slot(tcb, tcb_slot::VCPU, vcpu, Tag::Vcpu { rights: Rights::VCPU_RUN });
        let mut space = Space::new(d, &machine.name, true);
        for map in &machine.maps {
            map_region(d, &mut space, map, &self.regions[map.region.as_str()]);
        }
        d.slot(tcb, tcb_slot::EPT_ROOT, space.root(), Tag::Table);
        Some(vcpu)
    }
}

/// What a thread needs that is neither a channel nor a mapping.
struct Thread<'a> {
    name: &'a str,
    program: &'a Program,
    space: &'a mut Space,
    cnode: ObjectId,
    cnode_bits: u8,
    priority: u8,
    fault_handler: u16,
}

impl Thread<'_> {
    /// Adds the TCB, bound to CSpace, VSpace and IPC buffer.
    fn add(&mut self, d: &mut Distribution) -> Result<ObjectId, String> {
        let (ipc_buffer, frame) = self.ipc_buffer(d)?;
        let object = Object::Tcb(Tcb {
            ipc_buffer,
            entry: self.program.entry,
            stack: STACK_TOP,
            priority: self.priority,
            fault_handler: self.fault_handler,
        });
        let tcb = d.object(format!("tcb_{}", self.name), object);
        let guard_size = ADDRESS_BITS - self.cnode_bits;
        d.slot(tcb, tcb_slot::CSPACE, self.cnode, Tag::CNode { guard_size });
        d.slot(tcb, tcb_slot::VSPACE, self.space.root(), Tag::Table);
        d.slot(tcb, tcb_slot::IPC_BUFFER, frame, frame_tag(true, true, false, true));
        Ok(tcb)
    }

    /// Address and frame of the IPC buffer: the program's page for it, or one of its own where the program makes
    /// no system call that needs one.
    fn ipc_buffer(&mut self, d: &mut Distribution) -> Result<(u64, ObjectId), String> {
        let Some((address, _)) = self.program.symbol(IPC_BUFFER).map_err(|e| e.to_string())? else {
            let object = Object::Frame { size_bits: capdist::SMALL_PAGE_BITS, paddr: None };
            let frame = d.object(format!("frame_ipcbuf_{}", self.name), object);
            let address = USER_TOP - SMALL_PAGE;
            self.space.map(d, frame, address, frame_tag(true, true, false, true));
            return Ok((address, frame));
        };
        let frame = self.space.frame(address).ok_or_else(|| {
            let name = self.name;
            format!(
                "the symbol '{IPC_BUFFER}' of '{name}' at {address:#x} does not begin a page of the program"
            )
        })?;
        Ok((address, frame))
    }
}

/// Maps a program's pages, all below `end`.
fn program_pages(
    d: &mut Distribution,
    space: &mut Space,
    program: &Program,
    name: &str,
    end: u64,
) -> Result<(), String> {
    let mut guards = [None; STACKS.len()];
    for (guard, stack) in guards.iter_mut().zip(STACKS) {
        *guard = program.symbol(stack).map_err(|e| e.to_string())?.map(|(address, _)| address);
    }
    let mapped = program.pages().into_iter().filter(|(address, _)| !guards.contains(&Some(*address)));
    for (index, (address, page)) in mapped.enumerate() {
        if address >= end {
            return Err(format!("the program of '{name}' has a page at {address:#x}, above {end:#x}"));
        }
        let object = Object::Frame { size_bits: capdist::SMALL_PAGE_BITS, paddr: None };
        let frame = d.object(format!("frame_elf_{name}_{index:09}"), object);
        let used = page.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        d.fill(frame, 0, &page.bytes[..used]);
        space.map(d, frame, address, frame_tag(true, page.write, true, true));
    }
    Ok(())
}

fn map_region(d: &mut Distribution, space: &mut Space, map: &Map, frames: &[ObjectId]) {
    let mut address = map.address;
    for frame in frames {
        space.map(d, *frame, address, frame_tag(map.read, map.write, map.execute, map.cached));
        address += space.size(d, *frame);
    }
}

fn frame_tag(read: bool, write: bool, executable: bool, cached: bool) -> Tag {
    Tag::Frame { rights: Rights { read, write, grant: false }, cached, executable }
}

/// The index of a table slot or an object as 32 bits.
fn index(value: u64) -> u32 {
    length(usize::try_from(value).unwrap_or(usize::MAX))
}
