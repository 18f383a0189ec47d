//! docs/examples/pmu_glue.c, a VMM in C as a client: compiled and run against a policy domain that answers with this
//! crate's own messages.
#![allow(clippy::unwrap_used)]

use pmu_api::*;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the example uses of Microkit's library, in place of the real one.
const MICROKIT: &str = "\
#include <stdint.h>
#include <stdio.h>
typedef unsigned microkit_channel;
typedef struct { uint64_t label; uint16_t count; } microkit_msginfo;
static uint64_t registers[8];
static microkit_msginfo microkit_msginfo_new(uint64_t label, uint16_t count)
{ return (microkit_msginfo) { label, count }; }
static uint64_t microkit_msginfo_get_label(microkit_msginfo info) { return info.label; }
static void microkit_mr_set(uint8_t i, uint64_t value) { registers[i] = value; }
static uint64_t microkit_mr_get(uint8_t i) { return registers[i]; }
static void microkit_vcpu_x86_write_vmcs(unsigned vcpu, uint64_t field, uint64_t value)
{ printf(\"vmcs %u %llx %llx\\n\", vcpu, (unsigned long long)field, (unsigned long long)value); registers[0] = value; }
static const uint64_t (*answers)[5];
static microkit_msginfo microkit_ppcall(microkit_channel channel, microkit_msginfo info)
{
    printf(\"call %u %llx\", channel, (unsigned long long)info.label);
    for (int i = 0; i < info.count; i++) { printf(\" %llx\", (unsigned long long)registers[i]); }
    printf(\"\\n\");
    for (int i = 0; i < 4; i++) { registers[i] = (*answers)[1 + i]; }
    return (microkit_msginfo) { (*answers++)[0], 4 };
}
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Runs C statements with the example, with these answers of the policy domain: what happened, a line each.
fn run(name: &str, replies: &[Reply], statements: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("microkit.h"), MICROKIT).unwrap();
    let mut answers = String::new();
    for reply in replies {
        let message = reply.encode();
        let word = |i: usize| message.words().get(i).copied().unwrap_or(0);
        let (a, b, c, d) = (word(0), word(1), word(2), word(3));
        writeln!(answers, "{{ {:#x}, {a:#x}, {b:#x}, {c:#x}, {d:#x} }},", message.label()).unwrap();
    }
    let program = format!(
        "#include \"{}\"\nstatic const uint64_t all[][5] = {{ {answers} }};\nint main(void)\n{{\n\
         uint64_t leaf[2], value;\n(void)leaf; (void)value;\nanswers = all;\n{statements}\nreturn 0;\n}}\n",
        root().join("docs/examples/pmu_glue.c").display()
    );
    let (source, binary) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&source, program).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-unused-function", "-I"]);
    gcc.arg(&folder).arg("-I").arg(root().join("pmu_pd/api/include"));
    let compiled =
        gcc.arg(&source).arg("-o").arg(&binary).status().expect("gcc is needed: `cargo xtask setup`");
    assert!(compiled.success());
    let output = Command::new(binary).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn opened(direct: Direct) -> Reply {
    Reply::Opened(Configuration {
        mode: Mode::Mediated,
        direct,
        leaf_a: [0x0830_0805, 0, 0xF, 0x8604],
        perf_capabilities: 1 << 13,
        pdcm: true,
        report_overflow: false,
    })
}

/// The line of a request on the wire.
fn call(request: Request) -> String {
    let message = request.encode();
    let words: String = message.words().iter().map(|word| format!(" {word:x}")).collect();
    format!("call 1 {:x}{words}", message.label())
}

const PRINT: &str =
    "printf(\"%d %llx %llx\\n\", ok, (unsigned long long)leaf[0], (unsigned long long)leaf[1]);";

#[test]
fn it_opens_and_enters_with_the_counters_of_a_reset() {
    let lines = run("open", &[opened(Direct::RDPMC)], &format!("int ok = pmu_open(3, leaf);\n{PRINT}"));
    // SDM volume 3A, table 10-1: IA32_PERF_GLOBAL_CTRL has every general-purpose counter's bit.
    assert_eq!(lines, [&call(Request::Open), "vmcs 3 2808 ff", "1 8300805 86040000000f"]);
    let refused = Reply::Refused(Refusal::Unavailable(UnavailableReason::Hardware));
    let lines = run("refused", &[refused], &format!("int ok = pmu_open(3, leaf);\n{PRINT}"));
    assert_eq!(lines, [&call(Request::Open), "0 0 0"]);
}

#[test]
fn accesses_are_the_protocols_requests() {
    let replies = [
        opened(Direct::RDPMC),
        Reply::Done,
        Reply::Fault,
        Reply::Done,
        Reply::Value { value: 0x1234 },
        Reply::Value { value: 0x5678 },
        Reply::Fault,
        Reply::Done,
        Reply::DoneWithPmi,
        Reply::ValueWithPmi { value: 9 },
        Reply::DoneWithPmi,
    ];
    let statements = "pmu_open(0, leaf);\n\
        printf(\"%d\\n\", pmu_access(0, PMU_OPERATION_WRITE, 0x186, 0x4300c0, &value));\n\
        printf(\"%d\\n\", pmu_access(0, PMU_OPERATION_WRITE, 0x186, 1ull << 63, &value));\n\
        printf(\"%d\\n\", pmu_access(0, PMU_OPERATION_WRITE, 0x38f, 0x100000001, &value));\n\
        printf(\"%d \", pmu_access(0, PMU_OPERATION_READ, 0xc1, 0, &value)); printf(\"%llx\\n\", (unsigned long long)value);\n\
        printf(\"%d \", pmu_access(0, PMU_OPERATION_RDPMC, 1, 0xf, &value)); printf(\"%llx\\n\", (unsigned long long)value);\n\
        printf(\"%d \", pmu_access(0, PMU_OPERATION_READ, 0x3f1, 0, &value)); printf(\"fault\\n\");\n\
        printf(\"%d\\n\", pmu_account(false, false));\n\
        printf(\"%d\\n\", pmu_account(true, false));\n\
        printf(\"%d\\n\", pmu_account(true, true));\n\
        printf(\"%d \", pmu_access(0, PMU_OPERATION_READ, 0xc1, 0, &value)); printf(\"%llx\\n\", (unsigned long long)value);\n\
        printf(\"%d\\n\", pmu_account(true, false));\n\
        printf(\"%d\\n\", pmu_access(0, PMU_OPERATION_WRITE, 0x38f, 0, &value));\n\
        printf(\"%d\\n\", pmu_account(true, false));\n\
        printf(\"%d\\n\", pmu_account(true, true));\n\
        printf(\"%llx %llx\\n\", (unsigned long long)pmu_primary_controls(0x800), (unsigned long long)pmu_primary_controls(1));";
    let completed = |user| Request::Account { completed: Some(Completion { branch: false, user }) };
    let privilege = Privilege::new(3, true, true);
    let expected = [
        call(Request::Open),
        "vmcs 0 2808 ff".into(),
        call(Request::Write { msr: 0x186, value: 0x4300C0 }),
        "1".into(),
        call(Request::Write { msr: 0x186, value: 1 << 63 }),
        "0".into(),
        call(Request::Write { msr: 0x38F, value: 0x1_0000_0001 }),
        "vmcs 0 2808 100000001".into(),
        "1".into(),
        call(Request::Read { msr: 0xC1 }),
        "1 1234".into(),
        call(Request::Rdpmc { index: 1, privilege }),
        "1 5678".into(),
        call(Request::Read { msr: 0x3F1 }),
        "0 fault".into(),
        // The answers have accounted.
        "0".into(),
        call(completed(false)),
        "0".into(),
        call(completed(true)),
        "1".into(),
        call(Request::Read { msr: 0xC1 }),
        "1 9".into(),
        "1".into(),
        call(Request::Write { msr: 0x38F, value: 0 }),
        "vmcs 0 2808 0".into(),
        "1".into(),
        "1".into(),
        // Nothing counts: there is nothing to account for.
        "0".into(),
        "0 1".into(),
    ];
    assert_eq!(run("accesses", &replies, statements), expected);
}

/// Without direct RDPMC the exit is on, whatever the VMM's controls were.
#[test]
fn rdpmc_exits_unless_it_is_direct() {
    let statements = "printf(\"%llx\\n\", (unsigned long long)pmu_primary_controls(1));\n\
        pmu_open(0, leaf);\nprintf(\"%llx\\n\", (unsigned long long)pmu_primary_controls(1));";
    let lines = run("exits", &[opened(Direct::empty())], statements);
    assert_eq!([lines.first().unwrap().as_str(), lines.last().unwrap()], ["801", "801"]);
}
