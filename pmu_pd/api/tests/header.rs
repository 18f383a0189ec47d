//! The C header for VMMs written in C: generated from this crate, committed as include/pmu_api.h, and compiled.
//!
//! `PMU_API_WRITE_HEADER=1 cargo test -p pmu_api --test header` writes it anew.
#![allow(clippy::unwrap_used)]

use pmu_api::*;
use std::fmt::{Debug, Write};
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `ControlWrites` -> `CONTROL_WRITES`.
fn upper(name: &str) -> String {
    name.char_indices().fold(String::new(), |mut upper, (i, c)| {
        if c.is_uppercase() && i > 0 {
            upper.push('_');
        }
        upper.push(c.to_ascii_uppercase());
        upper
    })
}

/// A group of constants: a comment, and names with values.
type Group = (&'static str, Vec<(String, u64)>);

fn named<T: Debug + Copy>(prefix: &str, all: &[T], code: impl Fn(T) -> u64) -> Vec<(String, u64)> {
    all.iter().map(|&value| (format!("PMU_{prefix}_{}", upper(&format!("{value:?}"))), code(value))).collect()
}

/// Word 0 of these messages, as the encoder makes it.
fn kinds(prefix: &str, replies: &[(&str, Reply)]) -> Vec<(String, u64)> {
    replies.iter().map(|(name, reply)| (format!("PMU_{prefix}_{name}"), reply.encode().words()[0])).collect()
}

fn groups() -> Vec<Group> {
    let constant = |name: &str, value: u64| (format!("PMU_{name}"), value);
    let refused = |name, refusal| (name, Reply::Refused(refusal));
    let malformed = |name, malformed| (name, Reply::Malformed(malformed));
    let decision = |name, decision| (name, Reply::Overflow(decision));
    vec![
        (
            "The protocol",
            vec![
                constant("VERSION", VERSION),
                constant("MAX_WORDS", MAX_WORDS as u64),
                constant("CHUNK_WORDS", CHUNK_WORDS as u64),
                constant("MAX_CHUNKS", MAX_CHUNKS),
                constant("COMPLETED", COMPLETED),
            ],
        ),
        ("Operations: bits 7:0 of a request's label", named("OPERATION", Operation::ALL, Operation::code)),
        ("Replies: bits 7:0 of a reply's label", named("REPLY", ReplyCode::ALL, ReplyCode::code)),
        ("Word 0, bits 7:0, of PMU_REPLY_OPENED", named("MODE", Mode::ALL, Mode::code)),
        (
            "Word 0, bits 15:8, of PMU_REPLY_OPENED",
            Direct::all()
                .iter_names()
                .map(|(name, bit)| (format!("PMU_DIRECT_{name}"), bit.bits()))
                .collect(),
        ),
        (
            "Word 0 of PMU_REPLY_OVERFLOW",
            kinds(
                "OVERFLOW",
                &[
                    decision("DELIVER", OverflowDecision::Deliver),
                    decision("DELAY", OverflowDecision::Delay { cycles: 0 }),
                    decision("SPURIOUS", OverflowDecision::Spurious),
                ],
            ),
        ),
        (
            "Word 0 of PMU_REPLY_REFUSED; word 1 is the detail",
            kinds(
                "REFUSAL",
                &[
                    refused("UNAVAILABLE", Refusal::Unavailable(UnavailableReason::NoVm)),
                    refused("SNAPSHOT", Refusal::Snapshot(SnapshotReason::Version)),
                    refused("FILTER", Refusal::Filter(FilterReason::NoVm)),
                    refused("CHUNK", Refusal::Chunk),
                    refused("STATISTIC", Refusal::Statistic),
                    refused("NOT_MANAGER", Refusal::NotManager),
                    refused("NOT_VMM", Refusal::NotVmm),
                    refused("PORT", Refusal::Port { error: 0 }),
                ],
            ),
        ),
        ("Detail of PMU_REFUSAL_UNAVAILABLE", {
            named("UNAVAILABLE", UnavailableReason::ALL, UnavailableReason::code)
        }),
        ("Detail of PMU_REFUSAL_SNAPSHOT", named("SNAPSHOT", SnapshotReason::ALL, SnapshotReason::code)),
        ("Detail of PMU_REFUSAL_FILTER", named("FILTER", FilterReason::ALL, FilterReason::code)),
        (
            "Word 0 of PMU_REPLY_MALFORMED; words 1 and 2 are details",
            kinds(
                "MALFORMED",
                &[
                    malformed("VERSION", Malformed::Version { label: 0 }),
                    malformed("OPERATION", Malformed::Operation { code: 0 }),
                    malformed("LENGTH", Malformed::Length { expected: 0, found: 0 }),
                    malformed("WORD", Malformed::Word { index: 0 }),
                ],
            ),
        ),
        (
            "The statistics region",
            vec![
                constant("STATISTICS_MAGIC", STATISTICS_MAGIC),
                constant("STATISTICS_BYTES", STATISTICS_BYTES as u64),
                constant("STATISTICS", STATISTICS as u64),
                constant("MAX_VMS", MAX_VMS as u64),
            ],
        ),
        ("Counters of a VM in the statistics region", named("STATISTIC", Statistic::ALL, Statistic::code)),
    ]
}

const TYPES: &str = "\
/* A message: the label (PMU_LABEL), how many words, the words. */
struct pmu_message {
    uint64_t label;
    uint64_t count;
    uint64_t words[PMU_MAX_WORDS];
};

/* One VM in the statistics region. */
struct pmu_vm_statistics {
    uint64_t channel;
    uint64_t counters[PMU_STATISTICS];
};

/* The statistics region, read-only. */
struct pmu_statistics_region {
    uint64_t magic;
    uint64_t vm_count;
    uint64_t strangers;
    struct pmu_vm_statistics vms[PMU_MAX_VMS];
};

_Static_assert(sizeof(struct pmu_statistics_region) <= PMU_STATISTICS_BYTES, \"statistics region\");
";

fn header() -> String {
    let mut text = String::from(
        "/* SPDX-License-Identifier: BSD-2-Clause */\n\
         /* The protocol between a VMM and the PMU policy domain. Generated from the crate pmu_api, whose\n\
         \x20* documentation says what each message means; do not edit. */\n\
         #ifndef PMU_API_H\n#define PMU_API_H\n\n#include <stdint.h>\n",
    );
    for (comment, constants) in groups() {
        writeln!(text, "\n/* {comment}. */").unwrap();
        for (name, value) in constants {
            writeln!(text, "#define {name} UINT64_C({value:#x})").unwrap();
        }
    }
    text.push_str("\n/* The label of a message with this operation. */\n");
    text.push_str("#define PMU_LABEL(operation) (PMU_VERSION << 8 | (operation))\n\n");
    text.push_str(TYPES);
    text.push_str("\n#endif\n");
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pmu_api.h")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    if std::env::var_os("PMU_API_WRITE_HEADER").is_some() {
        std::fs::write(path(), header()).unwrap();
    }
    let committed = std::fs::read_to_string(path()).unwrap();
    assert!(committed == header(), "include/pmu_api.h is out of date: see the head of this test");
}

/// Compiles a C program that prints every value as C sees it.
#[test]
fn c_sees_what_rust_sees() {
    let mut program =
        String::from("#include <stddef.h>\n#include <stdio.h>\n#include \"pmu_api.h\"\nint main(void) {\n");
    let mut expected = String::new();
    let mut value = |expression: &str, value: u64| {
        writeln!(program, "printf(\"%llu\\n\", (unsigned long long)({expression}));").unwrap();
        writeln!(expected, "{value}").unwrap();
    };
    for (name, number) in groups().into_iter().flat_map(|(_, constants)| constants) {
        value(&name, number);
    }
    for operation in Operation::ALL {
        let name = upper(&format!("{operation:?}"));
        let label = match operation {
            Operation::Open => Some(Request::Open.encode().label()),
            Operation::Write => Some(Request::Write { msr: 0, value: 0 }.encode().label()),
            _ => None,
        };
        if let Some(label) = label {
            value(&format!("PMU_LABEL(PMU_OPERATION_{name})"), label);
        }
    }
    value("sizeof(struct pmu_message)", size_of::<Message>() as u64);
    value("sizeof(struct pmu_vm_statistics)", size_of::<VmStatistics>() as u64);
    value("sizeof(struct pmu_statistics_region)", size_of::<StatisticsRegion>() as u64);
    value("_Alignof(struct pmu_statistics_region)", align_of::<StatisticsRegion>() as u64);
    value("offsetof(struct pmu_vm_statistics, counters)", offset_of!(VmStatistics, counters) as u64);
    value("offsetof(struct pmu_statistics_region, magic)", offset_of!(StatisticsRegion, magic) as u64);
    value("offsetof(struct pmu_statistics_region, vm_count)", offset_of!(StatisticsRegion, vm_count) as u64);
    value(
        "offsetof(struct pmu_statistics_region, strangers)",
        offset_of!(StatisticsRegion, strangers) as u64,
    );
    value("offsetof(struct pmu_statistics_region, vms)", offset_of!(StatisticsRegion, vms) as u64);
    program.push_str("return 0;\n}\n");

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join("pmu_api.c"), folder.join("pmu_api"));
    std::fs::write(&source, program).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]).arg(path().parent().unwrap());
    let compiled =
        gcc.arg(&source).arg("-o").arg(&binary).status().expect("gcc is needed: `cargo xtask setup`");
    assert!(compiled.success());
    let output = Command::new(binary).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

/// Two constants of one name would be an error in C only where their values differ.
#[test]
fn names_are_unique() {
    let mut names: Vec<String> = groups().into_iter().flat_map(|(_, c)| c).map(|(name, _)| name).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}
