//! What is refused about programs, and what is set in them.

mod support;

use capdist::Object;
use sdf::Distribution;
use support::{BASE, DATA, System, ZEROED, elf};

/// A system with one protection domain with these elements; its program_image is in line 3, they in line 4.
fn with(elements: &str) -> String {
    format!(
        "<system><memory_region name=\"r\" size=\"0x3000\" prefill_path=\"fill.bin\" />\n\
         <protection_domain name=\"a\" passive=\"true\">\n\
         <program_image path=\"pd.elf\" />\n{elements}\n</protection_domain></system>"
    )
}

fn system(elements: &str, symbols: &[(&str, u64, u64)]) -> System {
    let system = System::new(&with(elements), symbols);
    system.file("fill.bin", &[7; 0x1801]);
    system
}

#[test]
fn images_that_are_not_there_or_no_programs() {
    let xml = with("").replace("pd.elf", "none.elf");
    let missing = System::new(&xml, &[]);
    missing.file("fill.bin", &[7]);
    assert_eq!(
        missing.refusal(),
        "system.xml:3: program image 'none.elf' is in no search path; name its folder by --search"
    );

    let text = system("", &[]);
    text.file("pd.elf", b"no ELF file at all");
    assert!(text.refusal().starts_with("pd.elf: no ELF file for x86-64: "), "{}", text.refusal());

    let change = |at: usize, value: u8| {
        let system = system("", &[]);
        let mut bytes = elf(&[]);
        bytes[at] = value;
        system.file("pd.elf", &bytes);
        system.refusal()
    };
    let shared = "pd.elf: no static ELF executable (ET_EXEC) for x86-64";
    assert_eq!(change(16, 3), shared, "ET_DYN");
    assert_eq!(change(18, 3), shared, "EM_386");
    assert_eq!(change(64 + 8 + 7, 0xff), "pd.elf: a segment's bytes are outside the file");
    assert_eq!(change(64 + 40 + 1, 1), "pd.elf: the segment at 0x200000 has an impossible size");
    // 2^40 bytes and a page, of which the file has a page: refused before memory is made for it.
    assert_eq!(
        change(64 + 40 + 5, 1),
        "pd.elf: its segments have 268435457 pages, and the root task has slots for 65536"
    );
}

#[test]
fn symbols_that_are_not_there_or_have_another_size() {
    let map = r#"<map mr="r" vaddr="0x1000000" setvar_vaddr="where" />"#;
    let reason = |symbols| system(map, symbols).refusal();
    assert_eq!(reason(&[]), "system.xml:4: 'a': pd.elf: has no symbol 'where'");
    assert_eq!(
        reason(&[("where", DATA, 4)]),
        "system.xml:4: 'a': pd.elf: symbol 'where' must have 8 bytes, not 4"
    );
    assert_eq!(
        reason(&[("where", 0x30_0000, 8)]),
        "system.xml:4: 'a': pd.elf: symbol 'where' is in no segment that is loaded"
    );
    let short = system("", &[("microkit_notifications", DATA, 4)]).refusal();
    assert_eq!(short, "pd.elf: symbol 'microkit_notifications' has 4 bytes, but its value has 8");
    let endless = system("", &[("microkit_name", DATA, u64::MAX)]).refusal();
    assert_eq!(endless, "pd.elf: symbol 'microkit_name' is in no segment that is loaded");
    let buffer = system("", &[("__sel4_ipc_buffer_obj", DATA + 8, 0x1000)]).refusal();
    assert!(
        buffer.starts_with("system.xml:3: the symbol '__sel4_ipc_buffer_obj' of 'a' at 0x201008"),
        "{buffer}"
    );
}

/// Which of two variables would be set is not said.
#[test]
fn symbols_that_are_there_twice() {
    let map = r#"<map mr="r" vaddr="0x1000000" setvar_vaddr="where" />"#;
    let twice = |name, address| [("where", DATA, 8), (name, address, 8), (name, address + 64, 8)];
    assert_eq!(
        system(map, &[("where", DATA, 8), ("where", DATA + 8, 8)]).refusal(),
        "system.xml:4: 'a': pd.elf: has several symbols 'where'; rename all but one"
    );
    for name in ["microkit_pps", "pd_ending", "pd_stack", "__sel4_ipc_buffer_obj"] {
        let refusal = system(map, &twice(name, ZEROED)).refusal();
        assert!(refusal.contains(&format!("pd.elf: has several symbols '{name}'")), "{refusal}");
    }
    assert!(system(map, &twice("other", ZEROED)).build().is_ok(), "nobody asks for it");
    assert!(system(map, &[("where", DATA, 8), ("where", DATA, 8)]).build().is_ok(), "one variable");
}

#[test]
fn maps_over_the_program() {
    for address in ["0x200000", "0x202000", "0x1fe000"] {
        let reason = system(&format!("<map mr=\"r\" vaddr=\"{address}\" />"), &[]).refusal();
        assert!(reason.starts_with("system.xml:4: map: 'r' at ") && reason.contains("of 'a'"), "{reason}");
    }
    assert!(system(r#"<map mr="r" vaddr="0x203000" />"#, &[]).build().is_ok(), "just behind it");
    assert!(system(r#"<map mr="r" vaddr="0x1fd000" />"#, &[]).build().is_ok(), "just before it");
}

/// The bytes of protection domain `a`'s program page at `address`, as the fills say.
fn page(d: &Distribution, address: u64) -> Vec<u8> {
    page_of(d, "a", address)
}

fn page_of(d: &Distribution, name: &str, address: u64) -> Vec<u8> {
    let index = (address - BASE) / 0x1000;
    let frame = d.find(&format!("frame_elf_{name}_{index:09}")).expect("a page of the program");
    let mut bytes = vec![0; 0x1000];
    for fill in d.fills.iter().filter(|fill| fill.frame == frame) {
        bytes[fill.offset as usize..][..fill.data.len()].copy_from_slice(&fill.data);
    }
    bytes
}

fn word(d: &Distribution, address: u64) -> u64 {
    let at = usize::try_from(address % 0x1000).expect("small");
    u64::from_le_bytes(page(d, address)[at..at + 8].try_into().expect("8 bytes"))
}

/// The lowest page of a stack is not mapped.
#[test]
fn a_stack_has_a_guard() {
    for (symbols, pages) in
        [(&[][..], 3), (&[("pd_stack", ZEROED, 0x1000)], 2), (&[("pd_last_stack", ZEROED, 0x1000)], 2)]
    {
        let d = system("", symbols).build().expect("a good system");
        let of_a = |named: &&sdf::Named| named.name.starts_with("frame_elf_a_");
        assert_eq!(d.objects.iter().filter(of_a).count(), pages, "{symbols:?}");
    }
}

/// The monitor is told where each program goes on that has faulted, and 0 of one that knows no such place.
#[test]
fn the_monitor_knows_where_programs_end() {
    let xml = r#"<system>
        <protection_domain name="b"><program_image path="other.elf" /></protection_domain>
        <protection_domain name="c"><program_image path="pd.elf" /></protection_domain></system>"#;
    let system = System::new(xml, &[("pd_ending", BASE + 0x123, 16)]);
    system.file("other.elf", &elf(&[]));
    let own = [("pd_names_len", DATA, 8), ("kernel_prints", DATA + 8, 8), ("pd_endings", DATA + 16, 8 * 63)];
    system.file("monitor.elf", &elf(&own));
    let d = system.build().expect("a good system");
    let data = page_of(&d, "monitor", DATA);
    let word = |at: usize| u64::from_le_bytes(data[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!((word(0), word(16), word(24)), (2, 0, BASE + 0x123));
}

#[test]
fn variables_get_their_values() {
    let symbols: Vec<(String, u64, u64)> = ["where", "size", "prefill", "irq", "port", "ports"]
        .into_iter()
        .zip(0..)
        .map(|(name, i)| (name.to_owned(), DATA + 8 * i, 8))
        .collect();
    let mut symbols: Vec<(&str, u64, u64)> = symbols.iter().map(|(n, a, s)| (n.as_str(), *a, *s)).collect();
    symbols.extend([
        ("microkit_name", DATA + 0x100, 64),
        ("microkit_passive", DATA + 0x140, 1),
        ("microkit_irqs", DATA + 0x148, 8),
        ("microkit_ioports", DATA + 0x150, 8),
        ("in_zeroed_memory", ZEROED + 0x10, 8),
    ]);
    let elements = r#"<map mr="r" vaddr="0x1000000" setvar_vaddr="where" setvar_size="size" setvar_prefill_size="prefill" />
        <irq id="9" pin="4" vector="3" setvar_id="irq" />
        <ioport id="5" addr="0x3f8" size="8" setvar_id="ports" setvar_addr="port" />
        <virtual_machine name="guest"><vcpu id="61" setvar_id="in_zeroed_memory" /></virtual_machine>"#;
    let d = system(elements, &symbols).build().expect("a good system");
    let values: Vec<u64> = symbols[..6].iter().map(|(_, address, _)| word(&d, *address)).collect();
    assert_eq!(values, [0x100_0000, 0x3000, 0x1801, 9, 0x3f8, 5]);
    let data = page(&d, DATA);
    assert_eq!(&data[0x100..0x102], b"a\0");
    assert_eq!(data[0x140], 1);
    assert_eq!(word(&d, DATA + 0x148), 1 << 9);
    assert_eq!(word(&d, DATA + 0x150), 1 << 5);
    assert_eq!(word(&d, ZEROED + 0x10), 61, "zeroed memory has room for a value");
}

#[test]
fn a_domain_knows_the_channels_of_the_pmus_that_it_has() {
    let xml = r#"<system>
        <protection_domain name="a" priority="2"><program_image path="pd.elf" /><?pmu-authority vm="guest"?></protection_domain>
        <protection_domain name="vmm" priority="1"><program_image path="pd.elf" />
            <virtual_machine name="guest"><vcpu id="0" /></virtual_machine></protection_domain>
        <channel><end pd="a" id="3" /><end pd="vmm" id="4" pp="true" /></channel></system>"#;
    let symbols = [("pmu_channels", DATA, 8)];
    let with = System::new(xml, &symbols).build().expect("a good system");
    assert_eq!(word(&with, DATA), 1 << 3);
    let without = xml.replace("<?pmu-authority vm=\"guest\"?>", "");
    assert_eq!(word(&System::new(&without, &symbols).build().expect("a good system"), DATA), 0);
}

#[test]
fn physical_addresses_and_regions_sized_by_their_files() {
    let xml = r#"<system>
        <memory_region name="device" size="0x2000" phys_addr="0xfee00000" />
        <memory_region name="file" prefill_path="fill.bin" />
        <protection_domain name="a"><program_image path="pd.elf" />
            <map mr="device" vaddr="0x1000000" cached="false" />
            <map mr="file" vaddr="0x2000000" perms="r" setvar_size="size" />
            <setvar symbol="paddr" region_paddr="device" />
        </protection_domain></system>"#;
    let system = System::new(xml, &[("paddr", DATA, 8), ("size", DATA + 8, 8)]);
    system.file("fill.bin", &[7; 0x1801]);
    let d = system.build().expect("a good system");
    assert_eq!((word(&d, DATA), word(&d, DATA + 8)), (0xfee0_0000, 0x2000));
    let second = d.find("frame_mr_device_000000001").expect("two pages");
    let expected = Object::Frame { size_bits: 12, paddr: Some(0xfee0_1000) };
    assert_eq!(d.objects[second.0 as usize].object, expected);
    let last = d.find("frame_mr_file_000000001").expect("two pages");
    let filled: Vec<_> =
        d.fills.iter().filter(|fill| fill.frame == last).map(|fill| fill.data.len()).collect();
    assert_eq!(filled, [0x801]);
}

#[test]
fn symbols_of_another_file() {
    let xml = with("").replace("path=\"pd.elf\"", "path=\"pd.elf\" path_for_symbols=\"names.elf\"");
    let system = System::new(&xml, &[]);
    system.file("fill.bin", &[7]);
    system.file("names.elf", &elf(&[("microkit_name", DATA + 0x20, 64)]));
    let d = system.build().expect("a good system");
    assert_eq!(&page(&d, DATA)[0x20..0x22], b"a\0");
}
