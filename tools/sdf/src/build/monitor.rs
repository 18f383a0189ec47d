//! The monitor: the protection domain that reports the faults of the others, and holds nothing else.

use super::caps::RECEIVE;
use super::{Builder, Options, Space, Thread, frame_tag, program_pages};
use crate::error::Error;
use crate::model::{MAX_NAME, MONITOR_NAME, MONITOR_PRIORITY, SMALL_PAGE, STACK_TOP};
use crate::program::Program;
use crate::slots::{COM1, INPUT, MONITOR_CNODE_BITS, MONITOR_PORTS};
use capdist::{Object, Tag};

const STACK_SIZE: u64 = 2 * SMALL_PAGE;
/// Bytes of each entry in `pd_names`.
const NAME_SIZE: usize = MAX_NAME + 1;

/// Adds the monitor.
pub(super) fn add(builder: &mut Builder<'_>, options: &Options) -> Result<(), Error> {
    let path = &options.monitor;
    let mut program = Program::read(path, None)?;
    let domains = &builder.system.domains;
    let names = domains.iter().flat_map(|domain| {
        let mut name = domain.name.clone().into_bytes();
        name.resize(NAME_SIZE, 0);
        name
    });
    program.set_if_present("pd_names", &names.collect::<Vec<u8>>())?;
    let endings = builder.domains.iter().flat_map(|domain| domain.ending.to_le_bytes());
    program.set_if_present("pd_endings", &endings.collect::<Vec<u8>>())?;
    program.set_word("kernel_prints", options.kernel_prints.into())?;
    program.set_word("pd_names_len", domains.len() as u64)?;

    let d = &mut builder.distribution;
    let mut space = Space::new(d, MONITOR_NAME, false);
    let end = STACK_TOP - STACK_SIZE;
    program_pages(d, &mut space, &program, MONITOR_NAME, end).map_err(|e| Error::file(path, e))?;
    for page in 0..STACK_SIZE / SMALL_PAGE {
        let object = Object::Frame { size_bits: capdist::SMALL_PAGE_BITS, paddr: None };
        let frame = d.object(format!("frame_{MONITOR_NAME}_stack_{page:09}"), object);
        space.map(d, frame, end + page * SMALL_PAGE, frame_tag(true, true, false, true));
    }
    let size_bits = MONITOR_CNODE_BITS;
    let cnode = d.object(format!("cnode_{MONITOR_NAME}"), Object::CNode { size_bits });
    let mut thread = Thread {
        name: MONITOR_NAME,
        program: &program,
        space: &mut space,
        cnode,
        cnode_bits: size_bits,
        priority: MONITOR_PRIORITY,
        fault_handler: 0,
    };
    thread.add(d).map_err(|e| Error::file(path, e))?;
    d.slot(cnode, INPUT, builder.faults, Tag::Endpoint { badge: 0, rights: RECEIVE });
    if !options.kernel_prints {
        let (first, last) = COM1;
        let ports = d.object(format!("ioports_{first:#x}_{MONITOR_NAME}"), Object::IoPorts { first, last });
        d.slot(cnode, MONITOR_PORTS, ports, Tag::IoPorts);
    }
    Ok(())
}
