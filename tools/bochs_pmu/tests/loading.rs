//! The library in real processes: what it refuses, and where it does nothing.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const REFUSED: i32 = 97;
const BOCHS: &str = "/usr/bin/bochs-bin";
/// The first bytes of its BuildID.
const BUILD_ID: [u8; 4] = [0x6E, 0x89, 0xE0, 0xC0];
/// Where bx_instr_after_execution is in the file.
const AFTER_EXECUTION: usize = 0x26_9A20;

/// The library that Cargo built for this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let library = test.with_file_name("libbochs_pmu.so");
    assert!(library.is_file(), "{} is missing", library.display());
    library
}

fn preloaded(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().copied()).env("LD_PRELOAD", library()).env("TERM", "dumb");
    command.output().unwrap_or_else(|e| panic!("{program}: {e}; run `cargo xtask setup`"))
}

/// Asserts that Bochs was refused with one sentence that contains `expected`.
fn assert_refused(output: &Output, expected: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(REFUSED), "{text}");
    assert!(text.starts_with("bochs_pmu: ") && text.contains(expected), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Runs a copy of Bochs in which the first bytes `from` become `to`; `name` keeps the copies of the tests apart.
fn tampered(name: &str, from: &[u8], to: &[u8]) -> Output {
    let image = fs::read(BOCHS).expect("bochs-bin is installed by `cargo xtask setup`");
    let at = image.windows(from.len()).position(|w| w == from).expect("bochs-bin has these bytes");
    tampered_at(name, at, from, to)
}

/// Likewise, with the bytes at `at`.
fn tampered_at(name: &str, at: usize, from: &[u8], to: &[u8]) -> Output {
    let mut image = fs::read(BOCHS).expect("bochs-bin is installed by `cargo xtask setup`");
    assert_eq!(&image[at..at + from.len()], from);
    image[at..at + to.len()].copy_from_slice(to);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder for the copy");
    let copy = folder.join("bochs-bin");
    fs::copy(BOCHS, &copy).expect("a copy that can be executed");
    fs::write(&copy, image).expect("the copy takes the change");
    let output = preloaded(copy.to_str().expect("a path in UTF-8"), &["--help"], &[]);
    fs::remove_dir_all(&folder).expect("the copy goes");
    output
}

#[test]
fn the_known_bochs_starts() {
    let output = preloaded(BOCHS, &["--help", "cpu"], &[]);
    let text = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&text).contains("corei7_icelake_u"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn another_process_is_left_alone() {
    let output = preloaded("/bin/sh", &["-c", "echo text"], &[("BOCHS_PMU_SKID", "malformed")]);
    assert_eq!(output.stdout, b"text\n");
    assert!(output.stderr.is_empty() && output.status.success());
}

#[test]
fn another_build_of_bochs_is_refused() {
    let output = tampered("build", &BUILD_ID, &[0, 0, 0, 0]);
    assert_refused(&output, "install Debian 12's bochs 2.7+dfsg-4+deb12u1");
}

#[test]
fn a_missing_symbol_is_refused() {
    let output = tampered("symbol", b"_Z14bx_instr_wrmsrjjm\0", b"_Z14bx_instr_wrmsrjjx\0");
    assert_refused(&output, "no symbol _Z14bx_instr_wrmsrjjm");
}

#[test]
fn a_stub_that_is_not_empty_is_refused() {
    // RET of bx_instr_after_execution becomes NOP.
    let output = tampered_at("stub", AFTER_EXECUTION, &[0xC3, 0x66], &[0x90]);
    assert_refused(&output, "bx_instr_after_executionjP15bxInstruction_c is not the empty stub");
}

#[test]
fn settings_are_refused_by_name() {
    for (name, value, expected) in [
        ("BOCHS_PMU_SKID", "many", "BOCHS_PMU_SKID is many"),
        ("BOCHS_PMU_SKIP", "1", "there is no variable BOCHS_PMU_SKIP"),
        ("BOCHS_PMU_COSTS", "/does/not/exist", "/does/not/exist cannot be read"),
    ] {
        assert_refused(&preloaded(BOCHS, &["--help"], &[(name, value)]), expected);
    }
}
