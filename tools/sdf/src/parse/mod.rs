//! Elements to the model: names, attributes and values.

mod channel;
mod domain;
mod irq;
mod machine;
mod map;
mod region;

use crate::error::Error;
use crate::model::{Domain, Parent, System};
use crate::xml::Element;
use domain::Tree;
use std::path::{Path, PathBuf};

/// Reads the description `xml`, which is in `file`; prefill files are looked for in `search`.
pub(crate) fn parse(file: &Path, xml: &str, search: &[PathBuf]) -> Result<System, Error> {
    let document = roxmltree::Document::parse(xml)
        .map_err(|e| Error::line(file, e.pos().row, format!("no well-formed XML: {e}")))?;
    let root = Element::root(&document, file);
    if root.tag() != "system" {
        return Err(root.error("the root element must be 'system'"));
    }
    root.only(&[])?;
    root.no_text()?;
    no_instructions(&root)?;
    let mut system = System::default();
    let mut channels = Vec::new();
    for element in root.children() {
        match element.tag() {
            "protection_domain" => {
                let tree = domain::parse(&element, 0)?;
                flatten(tree, None, &mut system.domains);
            }
            "memory_region" => system.regions.push(region::parse(&element, search)?),
            "channel" => channels.push(element),
            "virtual_machine" => {
                return Err(element.error("a virtual machine must be inside a protection domain"));
            }
            "domains" => {
                return Err(element.error("the bundled kernel has one scheduling domain; leave it out"));
            }
            "io_address_space" => {
                return Err(element.error("the bundled kernel is built without IOMMU support"));
            }
            _ => return Err(element.misplaced()),
        }
    }
    for element in channels {
        let channel = channel::parse(&element, &mut system)?;
        system.channels.push(channel);
    }
    Ok(system)
}

/// Refuses processing instructions in an element that has none of its own.
fn no_instructions(element: &Element<'_>) -> Result<(), Error> {
    match element.instructions().next() {
        None => Ok(()),
        Some((line, name, _)) => {
            Err(Error::line(element.file(), line, format!("invalid processing instruction '{name}' here")))
        }
    }
}

/// Refuses anything inside an element that has attributes alone.
fn leaf(element: &Element<'_>) -> Result<(), Error> {
    no_instructions(element)?;
    match element.children().next() {
        None => Ok(()),
        Some(child) => Err(child.misplaced()),
    }
}

/// Appends a protection domain and then those inside it.
fn flatten(tree: Tree, parent: Option<usize>, domains: &mut Vec<Domain>) {
    let Tree { mut domain, id, children } = tree;
    domain.parent = parent.zip(id).map(|(domain, id)| Parent { domain, id });
    let index = domains.len();
    domains.push(domain);
    for child in children {
        flatten(child, Some(index), domains);
    }
}
