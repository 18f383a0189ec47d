//! system.xml and the description of two VMs stay within what the Microkit 2.3 tool takes: its elements and attributes, and
//! of ours only the processing instruction, which it passes over. What that tool does not survive is refused before it runs.

#![allow(clippy::unwrap_used, reason = "a description that cannot be read ends the test")]

use roxmltree::{Document, Node};
use std::path::Path;

/// The tool's elements and attributes, as far as these descriptions use any.
const KNOWN: &[(&str, &[&str])] = &[
    ("system", &[]),
    ("memory_region", &["name", "size", "page_size", "phys_addr", "prefill_path", "prefill_bootinfo"]),
    ("protection_domain", &["name", "priority", "passive", "stack_size"]),
    ("program_image", &["path", "path_for_symbols"]),
    ("map", &["mr", "vaddr", "perms", "cached", "setvar_vaddr", "setvar_size", "setvar_prefill_size"]),
    ("ioport", &["id", "setvar_id", "setvar_addr", "addr", "size"]),
    ("irq", &["id", "setvar_id", "ioapic", "pin", "trigger", "polarity", "vector"]),
    ("virtual_machine", &["name"]),
    ("vcpu", &["id", "setvar_id"]),
    ("channel", &[]),
    ("end", &["pd", "id", "pp", "notify", "setvar_id"]),
];

/// What the tool would refuse.
fn beyond(xml: &str) -> Vec<String> {
    let document = Document::parse(xml).unwrap();
    let mut found = Vec::new();
    for node in document.descendants() {
        if let Some(instruction) = node.pi() {
            if instruction.target != "pmu-authority" {
                found.push(format!("<?{}?>", instruction.target));
            }
        } else if node.is_element() {
            element(&node, &mut found);
        }
    }
    found
}

fn element(node: &Node<'_, '_>, found: &mut Vec<String>) {
    let name = node.tag_name().name();
    let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        return found.push(format!("<{name}>"));
    };
    found.extend(
        node.attributes().filter(|a| !known.contains(&a.name())).map(|a| format!("{name} {}", a.name())),
    );
    let in_guest = node.parent_element().is_some_and(|parent| parent.has_tag_name("virtual_machine"));
    if name == "map" && in_guest && node.attributes().any(|a| a.name().starts_with("setvar_")) {
        found.push("setvar in a guest's map".to_owned());
    }
    // It stops at a page that the file does not reach.
    if node.has_attribute("prefill_path") && node.has_attribute("size") {
        found.push(format!("size of the prefilled {}", node.attribute("name").unwrap_or_default()));
    }
}

#[test]
fn the_descriptions_are_microkits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for file in ["system.xml", "tests/system/two_vms/system.xml"] {
        let xml = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(beyond(&xml), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn what_is_not_microkits_is_found() {
    let xml = r#"<system><memory_region name="r" size="0x2000" prefill_path="f" colour="red"/>
        <protection_domain name="p"><?pmu-authority vm="v"?><?other?><gpu/>
        <virtual_machine name="v"><map mr="r" vaddr="0" setvar_vaddr="a"/></virtual_machine></protection_domain></system>"#;
    let expected =
        ["memory_region colour", "size of the prefilled r", "<?other?>", "<gpu>", "setvar in a guest's map"];
    assert_eq!(beyond(xml), expected);
}

/// Fixtures as those of `refusals`, by the rules of the Microkit tool.
#[test]
fn what_the_tool_does_not_survive_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock_fixtures");
    let files = [Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files")];
    for (name, line, reason) in [
        ("prefill_ends_early.xml", 2, "has 5100 bytes and ends before the last page of the region"),
        ("prefill_ends_early_large.xml", 2, "leave out size"),
        ("not_well_formed.xml", 2, "no well-formed XML"),
    ] {
        let error = sdf::stock_program_images(&folder.join(name), &files).expect_err(name);
        assert_eq!(error.line, Some(line), "{name}: {error}");
        assert!(error.reason.contains(reason), "{name}: {error}");
    }
}

/// The last page is begun: the tool fills the rest with zeros. What the bundled kernel cannot do is that tool's to judge.
#[test]
fn what_the_tool_takes_is_left_to_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [folder.join("tests/fixtures/files")];
    let programs = sdf::stock_program_images(&folder.join("tests/stock_fixtures/taken.xml"), &files).unwrap();
    assert_eq!(programs, ["parent.elf", "child.elf"].map(std::path::PathBuf::from));
    let missing = sdf::stock_program_images(&folder.join("tests/stock_fixtures/none.xml"), &files);
    assert!(missing.unwrap_err().reason.starts_with("cannot be read: "));
}
