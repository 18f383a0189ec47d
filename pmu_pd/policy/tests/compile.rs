//! Each thing that a policy file may say, and each thing that it may not.
#![allow(clippy::unwrap_used)]

use pmu_api::Mode;
use pmu_core::geometry::Wanted;
use pmu_core::pmi::PmiLimit;
use pmu_core::policy::{Policy, VmPolicy};
use pmu_core::registers::{EventSelect, FixedControl};
use pmu_policy::{Compiled, Error, compile};
use std::sync::atomic::AtomicU64;

fn region(compiled: &Compiled) -> &'static [AtomicU64] {
    let bytes = compiled.bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    words.iter().map(|word| AtomicU64::new(u64::from_le_bytes(*word))).collect::<Vec<_>>().leak()
}

/// The VMs of a policy file, through its binary form.
fn vms(text: &str) -> Vec<VmPolicy<'static>> {
    let compiled = compile(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Policy::parse(region(&compiled)).unwrap().vms.into_iter().collect()
}

fn permits(vm: &VmPolicy<'_>, event: u8, umask: u8) -> bool {
    vm.filter.permits(EventSelect(u64::from(u16::from_le_bytes([event, umask]))))
}

/// The permitted fixed counters, as bits.
fn fixed(vm: &VmPolicy<'_>) -> u64 {
    let fields = vm.filter.fixed_control(FixedControl(0x1111));
    (0..4).fold(0, |bits, i| bits | (fields >> (4 * i) & 1) << i)
}

fn permitted(vm: &VmPolicy<'_>) -> Vec<u16> {
    (0..=u16::MAX).filter(|key| vm.filter.permits(EventSelect(u64::from(*key)))).collect()
}

const ONE: &str = "[[vm]]\nname = \"a\"\nchannel = 1\n";
const OTHER: &str = "[[vm]]\nname = \"b\"\nchannel = 2\n";

fn one(filter: &str) -> VmPolicy<'static> {
    vms(&format!("{ONE}{filter}"))[0]
}

fn filter(body: &str) -> VmPolicy<'static> {
    one(&format!("[vm.filter]\n{body}"))
}

/// The error's line, column and message.
#[track_caller]
fn refused(text: &str, line: usize, column: usize, part: &str) {
    let Err(Error { line: l, column: c, message }) = compile(text) else { panic!("accepted:\n{text}") };
    assert_eq!((l, c), (line, column), "{message}\n{text}");
    assert!(message.contains(part), "{message}");
    assert!(!message.contains('\n'));
}

const ARCHITECTURAL: [u16; 8] = [0x003C, 0x00C0, 0x013C, 0x4F2E, 0x412E, 0x00C4, 0x00C5, 0x01A4];

#[test]
fn silence_permits_the_architectural_events_alone() {
    let vm = one("");
    let mut expected = ARCHITECTURAL.to_vec();
    expected.sort_unstable();
    assert_eq!(permitted(&vm), expected);
    assert_eq!(fixed(&vm), 0xF);
    assert_eq!((vm.channel, vm.mode, vm.wanted, vm.pmi_limit), (1, Mode::Mediated, Wanted::default(), None));
}

#[test]
fn silence_beside_another_vm_also_denies_the_shared_cache() {
    for vm in vms(&format!("{ONE}{OTHER}")) {
        let mut expected: Vec<u16> = ARCHITECTURAL.iter().copied().filter(|key| key & 0xFF != 0x2E).collect();
        expected.sort_unstable();
        assert_eq!(permitted(&vm), expected);
    }
}

#[test]
fn beside_another_vm_a_deny_list_permits_no_more_than_silence() {
    let vm = vms(&format!("{ONE}[vm.filter]\naction = \"deny\"\nevents = [\"branches\"]\n{OTHER}"))[0];
    assert_eq!(permitted(&vm), [0x003C, 0x00C0, 0x00C5, 0x013C, 0x01A4]);
}

#[test]
fn beside_another_vm_an_allow_list_is_explicit() {
    let list = "events = [\"llc-misses\", { event = 0xD0, umask = 0x81 }]";
    let vm = vms(&format!("{ONE}[vm.filter]\naction = \"allow\"\n{list}\n{OTHER}"))[0];
    assert_eq!(permitted(&vm), [0x412E, 0x81D0]);
    assert_eq!(fixed(&vm), 0, "none is listed");
}

#[test]
fn off_core_events_never_count() {
    let vm = filter("action = \"deny\"\nevents = []");
    assert_eq!(permitted(&vm).len(), 65_536 - 4);
    for (event, umask) in [(0xB7, 1), (0xBB, 1), (0x2A, 1), (0x2B, 1)] {
        assert!(!permits(&vm, event, umask));
        let entry = format!("action = \"allow\"\nevents = [{{ event = {event}, umask = {umask} }}]");
        assert_eq!(permitted(&filter(&entry)), []);
    }
}

/// KVM's action and bitmap: ALLOW permits the listed, DENY all but the listed.
#[test]
fn allow_and_deny() {
    let vm = filter("action = \"allow\"\nevents = [\"instructions\"]\nfixed = [0, 3]");
    assert_eq!((permitted(&vm), fixed(&vm)), (vec![0x00C0], 0b1001));
    let vm = filter("action = \"deny\"\nevents = [\"instructions\"]\nfixed = [0, 3]");
    assert_eq!((permits(&vm, 0xC0, 0), permitted(&vm).len(), fixed(&vm)), (false, 65_531, 0b0110));
    let vm = filter("action = \"deny\"\nevents = []");
    assert_eq!(fixed(&vm), 0xF);
    let vm = filter("action = \"allow\"\nevents = []");
    assert_eq!(permitted(&vm), []);
}

/// KVM's masked entries: (umask & mask) == match; an exclusion takes out again; for both actions.
#[test]
fn masked_entries_and_exclusion() {
    let list = "events = [{ event = 0xD0, umask = 0x80, mask = 0xFC }, \
                { event = 0xD0, umask = 0x83, exclude = true }]";
    let allowed = filter(&format!("action = \"allow\"\n{list}"));
    assert_eq!(permitted(&allowed), [0x80D0, 0x81D0, 0x82D0]);
    let denied = filter(&format!("action = \"deny\"\n{list}"));
    for key in 0..=u16::MAX {
        let off_core = matches!(key, 0x01B7 | 0x01BB | 0x012A | 0x012B);
        let [event, umask] = key.to_le_bytes();
        assert_eq!(permits(&denied, event, umask), !off_core && !permits(&allowed, event, umask), "{key:#x}");
    }
    // Mask 0 with match 0 hits every unit mask; an exclusion may be masked as well.
    let list = "events = [{ event = 0xD0, umask = 0, mask = 0 }, { event = 0xD0, umask = 1, mask = 1, exclude = true }]";
    let vm = filter(&format!("action = \"allow\"\n{list}"));
    assert_eq!(permitted(&vm), (0..128).map(|i| i << 9 | 0xD0).collect::<Vec<u16>>());
    // An exclusion alone includes nothing.
    let vm = filter("action = \"allow\"\nevents = [{ event = 0xD0, umask = 1, exclude = true }]");
    assert_eq!(permitted(&vm), []);
}

#[test]
fn three_hundred_entries_and_no_more() {
    let entries = |n: usize| {
        let list: Vec<String> =
            (0..n).map(|i| format!("{{ event = {}, umask = {} }}", i % 251, i / 251)).collect();
        format!("{ONE}[vm.filter]\naction = \"allow\"\nevents = [{}]\n", list.join(", "))
    };
    assert_eq!(permitted(&vms(&entries(300))[0]).len(), 300 - 2, "two of them are off-core events");
    refused(&entries(301), 6, 10, "301 entries; a filter has at most 300");
}

#[test]
fn modes() {
    let mode = |text: &str| vms(&format!("{ONE}{text}"))[0].mode;
    assert_eq!(mode(""), Mode::Mediated);
    assert_eq!(mode("mode = \"mediated\""), Mode::Mediated);
    assert_eq!(mode("mode = \"emulated\""), Mode::Emulated);
    assert_eq!(mode("mode = \"off\""), Mode::Off);
    assert_eq!(mode("mode = \"passthrough\"\nunsafe_benchmark = true"), Mode::Passthrough);
    assert_eq!(permitted(&one("mode = \"off\"")), []);
    let raw = one("mode = \"passthrough\"\nunsafe_benchmark = true");
    assert_eq!((permitted(&raw).len(), fixed(&raw)), (65_532, 0xF));
    refused(&format!("{ONE}mode = \"passthrough\""), 4, 8, "needs unsafe_benchmark = true");
    let explicit = format!("{ONE}mode = \"passthrough\"\nunsafe_benchmark = false");
    refused(&explicit, 4, 8, "needs unsafe_benchmark = true");
    refused(&format!("{ONE}unsafe_benchmark = true"), 4, 20, "goes with mode = \"passthrough\" only");
    refused(&format!("{ONE}mode = \"fast\""), 4, 8, "unknown variant `fast`");
    let body = "[vm.filter]\naction = \"deny\"\nevents = []";
    refused(&format!("{ONE}mode = \"off\"\n{body}"), 5, 1, "this mode has no filter");
    let raw = format!("{ONE}mode = \"passthrough\"\nunsafe_benchmark = true\n{body}");
    refused(&raw, 6, 1, "this mode has no filter");
}

#[test]
fn geometry_and_limit() {
    let vm = one("version = 4\ngeneral_counters = 8\nfixed_counters = 3\ntsx = true\n\
                  pmi_limit = { count = 7, cycles = 1_000 }");
    let wanted = Wanted { version: Some(4), general: Some(8), fixed: Some(3), tsx: true };
    assert_eq!((vm.wanted, vm.pmi_limit), (wanted, Some(PmiLimit { count: 7, cycles: 1000 })));
    for (line, column, part) in [
        ("version = 6", 11, "version is 6; it must be from 0 to 5"),
        ("version = -1", 11, "version is -1"),
        ("general_counters = 0", 20, "from 1 to 8"),
        ("general_counters = 9", 20, "from 1 to 8"),
        ("fixed_counters = 5", 18, "from 0 to 4"),
        ("pmi_limit = { count = 0, cycles = 1 }", 23, "count is 0; it must be from 1 to 4294967295"),
        ("pmi_limit = { count = 4294967296, cycles = 1 }", 23, "count is 4294967296"),
        ("pmi_limit = { count = 1, cycles = 0 }", 35, "cycles is 0"),
        ("pmi_limit = { count = 1 }", 13, "missing field `cycles`"),
        ("tsx = 1", 7, "expected a boolean"),
        ("version = \"4\"", 11, "expected an integer"),
        ("unknown = 1", 1, "unknown field `unknown`"),
    ] {
        refused(&format!("{ONE}{line}"), 4, column, part);
    }
    for good in
        ["version = 0", "version = 5", "general_counters = 1", "fixed_counters = 0", "fixed_counters = 4"]
    {
        one(good);
    }
}

#[test]
fn names_and_channels() {
    refused("", 1, 1, "there is no [[vm]]");
    refused("manager_channel = 3\n", 1, 1, "there is no [[vm]]");
    refused("[[vm]]\nname = \"a\"\n", 1, 1, "missing field `channel`");
    refused("[[vm]]\nname = \"\"\nchannel = 1", 2, 8, "1 to 24 bytes");
    refused("[[vm]]\nname = \"a\\u0000\"\nchannel = 1", 2, 8, "1 to 24 bytes");
    refused("[[vm]]\nname = \"0123456789012345678901234\"\nchannel = 1", 2, 8, "1 to 24 bytes");
    vms("[[vm]]\nname = \"012345678901234567890123\"\nchannel = 61");
    refused("[[vm]]\nname = \"a\"\nchannel = 62", 3, 11, "channel is 62; it must be from 0 to 61");
    refused(&format!("{ONE}[[vm]]\nname = \"b\"\nchannel = 1"), 6, 11, "already that of VM \"a\"");
    refused(&format!("{ONE}[[vm]]\nname = \"a\"\nchannel = 2"), 5, 8, "two VMs called \"a\"");
    refused(&format!("manager_channel = 1\n{ONE}"), 4, 11, "channel 1 is the manager's");
    refused(&format!("manager_channel = 62\n{ONE}"), 1, 19, "from 0 to 61");
    refused(&format!("manager = 1\n{ONE}"), 1, 1, "unknown field `manager`");
    let eight: String = (0..8).map(|i| format!("[[vm]]\nname = \"v{i}\"\nchannel = {i}\n")).collect();
    assert_eq!(vms(&eight).len(), 8);
    refused(&format!("{eight}{}", OTHER.replace('2', "20")), 25, 1, "at most 8 VMs");
    let compiled = compile(&format!("manager_channel = 5\n{ONE}")).unwrap();
    assert_eq!(Policy::parse(region(&compiled)).unwrap().manager, Some(5));
    assert_eq!(Policy::parse(region(&compile(ONE).unwrap())).unwrap().manager, None);
}

#[test]
fn entries() {
    for (entry, column, part) in [
        ("\"cycles\"", 11, "\"cycles\" is no architectural event; they are core-cycles, instructions"),
        ("{ event = 256, umask = 0 }", 21, "event is 256; it must be from 0 to 255"),
        ("{ event = 0x1C0, umask = 0 }", 21, "event is 448"),
        ("{ event = 0, umask = -1 }", 32, "umask is -1"),
        ("{ event = 0, umask = 0, mask = 256 }", 42, "mask is 256"),
        ("{ event = 0, umask = 3, mask = 1 }", 32, "can never hit"),
        ("{ event = 0 }", 11, "missing field `umask`"),
        ("{ event = 0, umask = 0, inv = 1 }", 35, "unknown field `inv`"),
        ("7", 11, "an architectural event's name or a table"),
    ] {
        let text = format!("{ONE}[vm.filter]\naction = \"allow\"\nevents = [{entry}]\n");
        refused(&text, 6, column, part);
    }
    refused(&format!("{ONE}[vm.filter]\nevents = []\n"), 4, 1, "missing field `action`");
    refused(&format!("{ONE}[vm.filter]\naction = \"allow\"\n"), 4, 1, "missing field `events`");
    let fixed = |list| format!("{ONE}[vm.filter]\naction = \"allow\"\nevents = []\nfixed = {list}\n");
    refused(&fixed("[0, 4]"), 7, 13, "fixed counter is 4; it must be from 0 to 3");
    refused(&format!("{ONE}[vm.filter\n"), 4, 11, "unclosed table");
}

/// What is wrong for the parser already is said in the words of a policy file.
#[test]
fn the_parsers_errors_name_the_remedy() {
    for (text, column, part) in [
        ("version = 9223372036854775808", 11, "out of range: integer `9223372036854775808`"),
        ("mode = 1", 8, "expected a name in quotation marks"),
        ("pmi_limit = 5", 13, "expected a limit: { count = ..., cycles = ... }"),
        ("filter = 3", 10, "expected a filter: [vm.filter] with action and events"),
        (
            "[[vm.filter]]\naction = \"allow\"\nevents = []",
            1,
            "expected one filter: [vm.filter], in one pair of brackets",
        ),
        ("name = \"b\"", 1, "this key is there already"),
        ("filter = { action = 1, events = [] }", 21, "expected a name in quotation marks"),
        ("filter = { action = \"allow\", events = 1 }", 39, "expected a list: [...]"),
        ("filter = { action = \"allow\", events = [], fixed = 1 }", 51, "expected a list: [...]"),
    ] {
        refused(&format!("{ONE}{text}"), 4, column, part);
    }
    refused("vm = 3", 1, 6, "expected a list: [...]");
    refused("vm = [3]", 1, 7, "expected a VM: [[vm]] with name and channel");
}

/// The place is that of characters, not bytes.
#[test]
fn columns_are_characters() {
    refused("[[vm]]\nname = \"é\" # ü\nchannel = \"x\"", 3, 11, "expected an integer");
    refused("[vm]\nname = \"a\"\nchannel = 1\n", 1, 1, "a VM is [[vm]]");
    refused(&format!("{ONE}version = 99999999999999999999"), 4, 11, "9`, expected an integer");
    refused("[[vm]]\nname = \"é\"; ", 2, 11, "");
}

/// Equal tables are there once; the binary is as small as it can be.
#[test]
fn equal_tables_are_shared() {
    let both = compile(&format!("{ONE}{OTHER}")).unwrap();
    assert_eq!(both.words.len(), 8 + 2 * 8 + 1024);
    let different = compile(&format!("{ONE}mode = \"off\"\n{OTHER}")).unwrap();
    assert_eq!(different.words.len(), 8 + 2 * 8 + 2 * 1024);
    assert_eq!(different.vms[0].events, 0);
    assert_eq!(different.vms[1].events, 6);
}

#[test]
fn the_examples_say_what_their_comments_say() {
    let example = |name: &str| {
        let path = format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        vms(&std::fs::read_to_string(path).unwrap())
    };
    let single = example("single_tenant");
    assert_eq!((single.len(), permitted(&single[0]).len(), fixed(&single[0])), (1, 65_532, 0xF));
    let two = example("two_tenants");
    assert_eq!(two.len(), 2);
    for vm in &two {
        assert!(!permits(vm, 0x2E, 0x4F) && !permits(vm, 0x2E, 0x41), "the last-level cache is shared");
        assert!(permits(vm, 0xC0, 0) && permits(vm, 0x3C, 0));
    }
    assert_eq!(fixed(&two[0]), 0b0111);
    assert_eq!(
        (0..=255).filter(|umask| permits(&two[0], 0xD0, *umask)).collect::<Vec<_>>(),
        [0x80, 0x81, 0x82]
    );
    let off = example("counting_off");
    assert_eq!((off[0].mode, permitted(&off[0]).len()), (Mode::Off, 0));
}
