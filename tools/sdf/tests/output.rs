//! What leaves the library: the boot module and the JSON.

mod support;

use capdist::View;
use object::{Object as _, ObjectSegment as _};
use support::{DATA, System, elf};

const XML: &str = r#"<system>
    <protection_domain name="a" priority="1"><program_image path="pd.elf" />
        <irq id="2" pin="4" vector="7" polarity="low" />
        <virtual_machine name="guest"><vcpu id="0" /></virtual_machine>
    </protection_domain>
    <protection_domain name="b" priority="2"><program_image path="pd.elf" /><?pmu-authority vm="guest"?></protection_domain>
    <channel><end pd="a" id="1" pp="true" /><end pd="b" id="3" /></channel>
</system>"#;

const VARIABLES: [(&str, u64, u64); 3] =
    [("distribution_address", DATA, 8), ("distribution_size", DATA + 8, 8), ("kernel_prints", DATA + 16, 8)];

#[test]
fn the_boot_module_carries_the_distribution_where_it_says() {
    let system = System::new(XML, &[]);
    system.file("initialiser.elf", &elf(&VARIABLES));
    let d = system.build().expect("a good system");
    let module = sdf::boot_module(&system.path("initialiser.elf"), &d).expect("a good initialiser");
    let module = object::File::parse(&*module).expect("an ELF file");
    assert_eq!(module.entry(), support::BASE);
    let read = |address: u64, size: u64| {
        let data = module.segments().find_map(|segment| segment.data_range(address, size).ok().flatten());
        data.expect("inside a segment").to_vec()
    };
    let word = |address| u64::from_le_bytes(read(address, 8).try_into().expect("8 bytes"));
    let (address, size) = (word(DATA), word(DATA + 8));
    assert_eq!(address % 0x1000, 0);
    assert_eq!(word(DATA + 16), 1, "a kernel that prints");
    let bytes = read(address, size);
    assert_eq!(bytes, d.encode());
    let view = View::parse(&bytes).expect("a well-formed distribution");
    assert_eq!(view.object_count() as usize, d.objects.len());
    let others = module.segments().filter(|segment| segment.address() != address);
    assert!(
        others.into_iter().all(|segment| segment.address() + segment.size() <= address),
        "it is behind the program"
    );
}

#[test]
fn an_initialiser_without_the_variables_is_refused() {
    let system = System::new(XML, &[]);
    let d = system.build().expect("a good system");
    let error = sdf::boot_module(&system.path("pd.elf"), &d).expect_err("no variables");
    assert_eq!(error.reason, "has no symbol 'distribution_address'");
}

/// Microkit's tool writes objects as `{"name", "object"}` where the object is a string or has one member named
/// after its kind; slots as `{"slot", "cap"}` where the capability has one member named after its kind.
#[test]
fn the_json_has_the_shape_of_the_microkit_tools() {
    let json = System::new(XML, &[]).build().expect("a good system").json();
    let objects = json["objects"].as_array().expect("a list");
    assert_eq!(json["root_objects"]["end"], objects.len());
    let find = |name: &str| {
        let index = objects.iter().position(|object| object["name"] == name).expect("an object");
        (index, &objects[index]["object"])
    };
    let (vcpu, object) = find("vcpu_guest_0");
    assert_eq!(object, "VCpu");
    let cap = |cnode: &str, slot: u32| {
        let slots = find(cnode).1["CNode"]["slots"].as_array().expect("a list");
        slots.iter().find(|entry| entry["slot"] == slot).expect("a slot")["cap"].clone()
    };
    assert_eq!(cap("cnode_a", 330)["VCpu"]["object"], vcpu);
    assert_eq!(cap("cnode_a", 330)["VCpu"]["rights"]["grant"], false);
    assert_eq!(cap("cnode_b", 461)["VCpu"]["rights"]["write"], false);
    assert_eq!(cap("cnode_b", 461)["VCpu"]["rights"]["grant"], true);
    assert_eq!(cap("cnode_a", 75)["Endpoint"]["badge"], 1_u64 << 63 | 3);
    assert_eq!(cap("cnode_a", 140)["IrqIOApicHandler"]["object"], find("irq_7_a").0);
    assert_eq!(find("irq_7_a").1["IrqIOApic"]["extra"]["polarity"], 1);
    assert_eq!(json["irqs"][0]["irq"], 7);
    let tcb = &find("tcb_a").1["Tcb"];
    let bound = |slot: u32| {
        let slots = tcb["slots"].as_array().expect("a list");
        slots.iter().find(|entry| entry["slot"] == slot).expect("a slot")["cap"].clone()
    };
    assert_eq!(bound(0)["CNode"]["object"], find("cnode_a").0);
    assert_eq!(bound(1)["PageTable"]["object"], find("pml4_a").0);
    assert_eq!(bound(5)["Endpoint"]["object"], find("ep_fault_monitor").0);
    assert_eq!(bound(9)["VCpu"]["object"], vcpu);
    assert_eq!(bound(10)["PageTable"]["object"], find("pml4_guest").0);
    assert_eq!(tcb["extra"]["prio"], 1);
    assert_eq!(find("pml4_guest").1["PageTable"]["x86_ept"], true);
}
