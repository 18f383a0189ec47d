//! The system that a description describes, after its elements are read.

use capdist::Irq;
use std::path::PathBuf;

/// Highest identifier of a channel, IRQ, vCPU, I/O port or child: two bits of a badge's 64 are the tool's.
pub(crate) const MAX_ID: u32 = 61;
/// Highest priority of a protection domain; the monitor is above.
pub(crate) const MAX_PRIORITY: u64 = 254;
/// Priority of the monitor.
pub(crate) const MONITOR_PRIORITY: u8 = 255;
/// Name of the monitor, which no protection domain may have.
pub(crate) const MONITOR_NAME: &str = "monitor";
/// Most protection domains of a system.
pub(crate) const MAX_DOMAINS: usize = 63;
/// Most pages of a system's memory regions: the slots of the bundled kernel's root task (ROOT_CNODE_SIZE_BITS of
/// tools/kernel), which has one for each page and a further one for each mapping.
pub(crate) const MAX_PAGES: u64 = 1 << 16;
/// Most bytes of prefill files: a distribution counts its bytes in 32 bits, and programs are in it too.
pub(crate) const MAX_PREFILL: u64 = 1 << 31;
/// Most bytes of a protection domain's name.
pub(crate) const MAX_NAME: usize = 63;
/// Bytes of a small page.
pub(crate) const SMALL_PAGE: u64 = 1 << capdist::SMALL_PAGE_BITS;
/// Bytes of a large page.
pub(crate) const LARGE_PAGE: u64 = 1 << capdist::LARGE_PAGE_BITS;
/// End of a protection domain's addresses: its highest page is Microkit's IPC buffer.
pub(crate) const USER_TOP: u64 = 0x7fff_ffff_f000;
/// End of the stack: below Microkit's IPC buffer and a page that is not mapped.
pub(crate) const STACK_TOP: u64 = USER_TOP - 2 * SMALL_PAGE;

#[derive(Debug, Default)]
pub(crate) struct System {
    /// Parents before their children.
    pub(crate) domains: Vec<Domain>,
    pub(crate) regions: Vec<Region>,
    pub(crate) channels: Vec<Channel>,
}

impl System {
    pub(crate) fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    pub(crate) fn domain(&self, name: &str) -> Option<usize> {
        self.domains.iter().position(|domain| domain.name == name)
    }
}

/// A protection domain.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) line: u32,
    pub(crate) name: String,
    pub(crate) parent: Option<Parent>,
    pub(crate) priority: u8,
    pub(crate) passive: bool,
    pub(crate) stack_size: u64,
    pub(crate) program: Program,
    pub(crate) maps: Vec<Map>,
    pub(crate) irqs: Vec<IrqUse>,
    pub(crate) ports: Vec<Ports>,
    pub(crate) setvars: Vec<Setvar>,
    pub(crate) cspace: Vec<ForeignCap>,
    pub(crate) machine: Option<Machine>,
    pub(crate) pmu_of: Vec<PmuAuthority>,
}

impl Domain {
    /// First address above what may be mapped.
    pub(crate) fn map_end(&self) -> u64 {
        STACK_TOP - self.stack_size
    }
}

/// The parent of a protection domain, and its identifier there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent {
    pub(crate) domain: usize,
    pub(crate) id: u32,
}

/// A program image.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) line: u32,
    pub(crate) path: PathBuf,
    pub(crate) symbols: Option<PathBuf>,
}

/// A mapping of a memory region.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) line: u32,
    pub(crate) region: String,
    pub(crate) address: u64,
    pub(crate) write: bool,
    pub(crate) read: bool,
    pub(crate) execute: bool,
    pub(crate) cached: bool,
}

/// A memory region.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) line: u32,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) page_size: u64,
    pub(crate) page_size_given: bool,
    pub(crate) physical: Option<u64>,
    pub(crate) prefill: Option<Vec<u8>>,
}

/// An interrupt.
#[derive(Debug)]
pub(crate) struct IrqUse {
    pub(crate) line: u32,
    pub(crate) id: u32,
    pub(crate) irq: Irq,
}

impl IrqUse {
    pub(crate) fn vector(&self) -> u8 {
        match self.irq {
            Irq::Ioapic { vector, .. } | Irq::Msi { vector, .. } => vector,
        }
    }
}

/// I/O ports `first..=last`.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) line: u32,
    pub(crate) id: u32,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// A variable of the program that the tool sets.
#[derive(Debug)]
pub(crate) struct Setvar {
    pub(crate) line: u32,
    pub(crate) symbol: String,
    pub(crate) value: Value,
}

/// What a variable is set to.
#[derive(Debug)]
pub(crate) enum Value {
    Number(u64),
    SizeOf(String),
    PrefillSizeOf(String),
    PhysicalAddressOf(String),
}

/// A capability of another protection domain.
#[derive(Debug)]
pub(crate) struct ForeignCap {
    pub(crate) line: u32,
    pub(crate) slot: u32,
    pub(crate) domain: String,
    pub(crate) kind: ForeignKind,
}

/// What capability of another protection domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ForeignKind {
    Tcb,
    VSpace,
}

/// A virtual machine with its one virtual CPU.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) line: u32,
    pub(crate) name: String,
    pub(crate) vcpu: u32,
    pub(crate) maps: Vec<Map>,
}

/// That a protection domain may program the PMU of a virtual machine.
#[derive(Debug)]
pub(crate) struct PmuAuthority {
    pub(crate) line: u32,
    pub(crate) machine: String,
}

/// A channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) line: u32,
    pub(crate) ends: [End; 2],
}

impl Channel {
    /// Both directions: an end and the other end.
    pub(crate) fn directions(&self) -> [(&End, &End); 2] {
        [(&self.ends[0], &self.ends[1]), (&self.ends[1], &self.ends[0])]
    }
}

/// An end of a channel.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) domain: usize,
    pub(crate) id: u32,
    /// Whether this end may call the other.
    pub(crate) call: bool,
    /// Whether this end may notify the other.
    pub(crate) notify: bool,
}
