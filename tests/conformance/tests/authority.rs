//! The facts hold for system.xml; for each there is a system.xml that breaks it and nothing else notices.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use conformance::authority::{Distribution, Expected, FACTS};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: Expected<'_> =
    Expected { policy: "pmu", vmm: "vmm", shared: &["statistics"], trusted: &[], rights: true };

/// A program that is nothing but the symbols that system.xml sets.
const PROGRAM: &str = "
#define WORD(name) __attribute__((used)) unsigned long name = 1
WORD(policy_vaddr); WORD(policy_size); WORD(statistics_vaddr); WORD(guest_ram_vaddr); WORD(guest_ram_size);
WORD(guest_image_vaddr); WORD(guest_image_size); WORD(end_request_irq); WORD(kernel_prints);
WORD(pd_names_len); __attribute__((used)) char pd_names[64 * 64] = {1};
void start(void) { for (;;) ; }
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A folder with the programs and files that system.xml names.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let source = folder.join("program.c");
    fs::write(&source, PROGRAM).unwrap();
    let flags =
        "-nostdlib -static -no-pie -fno-pic -O1 -Wl,-e,start -Wl,--build-id=none -Wl,-z,max-page-size=4096";
    let program = folder.join("vmm_pd.elf");
    let status =
        Command::new("cc").args(flags.split(' ')).arg(&source).arg("-o").arg(&program).status().unwrap();
    assert!(status.success(), "cc failed");
    for name in ["pmu_pd.elf", "monitor.elf"] {
        fs::copy(&program, folder.join(name)).unwrap();
    }
    fs::write(folder.join("guest.image"), [0; 16]).unwrap();
    fs::write(folder.join("policy.bin"), [0; 16]).unwrap();
    folder
}

fn distribution(folder: &Path, xml: &str) -> Distribution {
    let system = folder.join("system.xml");
    fs::write(&system, xml).unwrap();
    let options = sdf::Options { monitor: folder.join("monitor.elf"), kernel_prints: true };
    let built = sdf::build(&system, &[folder.to_owned()], &options).unwrap_or_else(|e| panic!("{e}\n{xml}"));
    Distribution::read(&built.json()).unwrap()
}

/// The names of the facts that do not hold.
fn broken(distribution: &Distribution, expected: &Expected<'_>) -> Vec<(&'static str, String)> {
    FACTS.iter().filter_map(|(name, fact)| Some((*name, fact(distribution, expected).err()?))).collect()
}

fn system() -> String {
    fs::read_to_string(root().join("system.xml")).unwrap()
}

/// system.xml with `addition` after the one occurrence of `place`.
fn after(place: &str, addition: &str) -> String {
    let xml = system();
    assert_eq!(xml.matches(place).count(), 1, "system.xml has '{place}' not once");
    xml.replace(place, &format!("{place}\n{addition}"))
}

#[test]
fn every_fact_holds_for_system_xml() {
    let distribution = distribution(&folder("intact"), &system());
    assert_eq!(broken(&distribution, &OURS), []);
    assert_eq!(distribution.subjects.len(), 3, "vmm, pmu, monitor");
}

#[test]
fn each_fact_has_a_system_that_breaks_it() {
    let pmu = "<?pmu-authority vm=\"guest\"?>";
    let guest = "<map mr=\"guest_ram\" vaddr=\"0\" perms=\"rwx\" />";
    let vmm = "<ioport id=\"0\" addr=\"0x3f8\" size=\"8\" />";
    let mutants = [
        ("no-device", after(pmu, "<ioport id=\"0\" addr=\"0x3e8\" size=\"8\" />")),
        ("no-device", after(pmu, "<irq id=\"0\" pin=\"4\" vector=\"4\" />")),
        ("memory", after(pmu, "<map mr=\"guest_image\" vaddr=\"0x80000000\" perms=\"r\" />")),
        ("memory", after(vmm, "<map mr=\"policy\" vaddr=\"0x52000000\" perms=\"r\" />")),
        ("memory", system().replace("vaddr=\"0x51000000\" perms=\"r\"", "vaddr=\"0x51000000\" perms=\"rw\"")),
        ("one-endpoint", system().replace("pp=\"true\" notify=\"false\"", "pp=\"true\" notify=\"true\"")),
        ("guest-memory", after(guest, "<map mr=\"statistics\" vaddr=\"0x40000000\" perms=\"r\" />")),
        ("islands", after(vmm, "<cspace><cap_tcb slot=\"1\" pd=\"pmu\" /></cspace>")),
        ("islands", after(vmm, "<cspace><cap_vspace slot=\"1\" pd=\"pmu\" /></cspace>")),
        ("pmu-right", system().replace(pmu, "")),
    ];
    let folder = folder("mutants");
    let intact = system();
    for (fact, xml) in &mutants {
        assert_ne!(*xml, intact, "{fact}: the mutation changes nothing");
        let broken = broken(&distribution(&folder, xml), &OURS);
        let names: Vec<&str> = broken.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(fact), "{fact} still holds; broken: {broken:?}\n{xml}");
    }
    for (name, _) in FACTS {
        assert!(mutants.iter().any(|(fact, _)| fact == name), "{name} is never broken");
    }
}

/// What the Microkit tool 2.3 writes has the same shape; its VCPU capabilities carry no rights, and untyped memory is
/// given to nobody. A frame can be mapped by who holds a capability to it.
#[test]
fn an_untyped_a_cnode_or_a_frame_capability_is_noticed() {
    let folder = folder("json");
    let path = folder.join("system.xml");
    fs::write(&path, system()).unwrap();
    let options = sdf::Options { monitor: folder.join("monitor.elf"), kernel_prints: true };
    let json = sdf::build(&path, std::slice::from_ref(&folder), &options).unwrap().json();
    let objects = json["objects"].as_array().unwrap();
    let find = |name: &str| objects.iter().position(|o| o["name"] == name).unwrap();
    let (policy, vmm) = (find("cnode_pmu"), find("cnode_vmm"));
    let (stack, guest) = (find("frame_pmu_stack_000000000"), find("frame_mr_guest_ram_000000000"));
    for (fact, holder, cap) in [
        (
            "memory",
            vmm,
            serde_json::json!({"Frame": {"object": stack, "rights": {"read": true, "write": false}}}),
        ),
        ("guest-memory", policy, serde_json::json!({"Frame": {"object": guest}})),
        ("no-device", policy, serde_json::json!({"Untyped": {"object": 0}})),
        ("islands", vmm, serde_json::json!({"CNode": {"object": policy, "guard": 0, "guard_size": 0}})),
        ("islands", policy, serde_json::json!({"CNode": {"object": policy, "guard": 0, "guard_size": 0}})),
    ] {
        let mut json = json.clone();
        let slots = &mut json["objects"][holder]["object"]["CNode"]["slots"];
        slots.as_array_mut().unwrap().push(serde_json::json!({"slot": 100, "cap": cap}));
        let broken = broken(&Distribution::read(&json).unwrap(), &OURS);
        assert!(broken.iter().any(|(name, _)| *name == fact), "{fact}: {broken:?}");
    }
}

/// The Microkit tool 2.3 gives each domain the monitor's endpoint with every right, receiving included: VMM and policy
/// domain could talk over it. Only who trusts the monitor, and knows that neither's program receives there, may leave it
/// out; the other facts are as they were, and a second shared endpoint is noticed all the same.
#[test]
fn the_monitors_endpoint_is_a_channel_unless_the_monitor_is_trusted() {
    let folder = folder("monitor");
    let path = folder.join("system.xml");
    fs::write(&path, system()).unwrap();
    let options = sdf::Options { monitor: folder.join("monitor.elf"), kernel_prints: true };
    let mut json = sdf::build(&path, std::slice::from_ref(&folder), &options).unwrap().json();
    let objects = json["objects"].as_array().unwrap().clone();
    let find = |name: &str| objects.iter().position(|o| o["name"] == name).unwrap();
    let monitor = &objects[find("cnode_monitor")]["object"]["CNode"]["slots"];
    let endpoint = monitor.as_array().unwrap().iter().find_map(|s| s["cap"]["Endpoint"]["object"].as_u64());
    let rights = serde_json::json!({"read": true, "write": true, "grant": true, "grant_reply": false});
    let give = |json: &mut serde_json::Value, object: u64| {
        for holder in ["cnode_pmu", "cnode_vmm"] {
            let cap = serde_json::json!({"Endpoint": {"object": object, "badge": 1, "rights": rights}});
            let slots = &mut json["objects"][find(holder)]["object"]["CNode"]["slots"];
            slots.as_array_mut().unwrap().push(serde_json::json!({"slot": 200, "cap": cap}));
        }
    };
    give(&mut json, endpoint.unwrap());
    let trusting = Expected { trusted: &["monitor"], ..OURS };
    let names = |expected: &Expected<'_>, json: &serde_json::Value| -> Vec<&'static str> {
        broken(&Distribution::read(json).unwrap(), expected).iter().map(|(name, _)| *name).collect()
    };
    assert!(names(&OURS, &json).contains(&"one-endpoint"));
    assert_eq!(names(&trusting, &json), [""; 0]);
    let other = u64::try_from(objects.len()).unwrap();
    json["objects"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({"name": "ep_other", "object": "Endpoint"}));
    give(&mut json, other);
    assert_eq!(names(&trusting, &json), ["one-endpoint"]);
}
