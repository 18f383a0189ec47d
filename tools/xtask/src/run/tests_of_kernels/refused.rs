//! What `cargo xtask run` refuses: one sentence, exit code 2, and nothing boots.

use super::{Run, output};
use crate::process::{Failure, Outcome};
use crate::run::guest::Guest;
use crate::run::unwritable;
use crate::workspace::{claim, root};
use std::fs;

/// What a file is made into.
type Damage = fn(&mut Vec<u8>);

/// Offsets in an ELF32 file (System V ABI): the first program header, and in a program header the physical address.
const PROGRAM_HEADERS: usize = 28;
const ENTRY: usize = 24;
/// The place of the section headers; their number, followed by the index of that with their names.
const SECTION_HEADERS: usize = 32;
const SECTIONS: usize = 48;
const OFFSET: usize = 4;
const PHYSICAL: usize = 12;
const FILE_SIZE: usize = 16;
const MEMORY_SIZE: usize = 20;
/// Bytes of a program header, and the type of one that is loaded.
const PROGRAM_HEADER: usize = 32;
const LOAD: u32 = 1;
/// The first word of a Multiboot header.
const MAGIC: u32 = 0x1bad_b002;

/// Damaged files: name, how, and what the sentence says.
const FILES: [(&str, Damage, &str); 9] = [
    ("empty", |file| file.clear(), "not an ELF file"),
    ("cut-off", cut, "its headers are cut off"),
    ("cut-off without section headers", cut_without_sections, "the file ends inside the segment"),
    ("no-header", |file| flags_at(file, 0, 0), "without a Multiboot header"),
    ("video", |file| flags_at(file, MAGIC, 1 << 2), "video mode"),
    ("unknown-flag", |file| flags_at(file, MAGIC, 1 << 5), "flag 5"),
    ("outside", |file| move_second(file, |_| 0xf000_0000), "is not in RAM"),
    ("overlap", |file| move_second(file, |first| first), "overlaps another"),
    ("entry", |file| put(file, ENTRY, 0x50_0000), "is in no segment"),
];

fn word(file: &[u8], at: usize) -> u32 {
    file.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn put(file: &mut [u8], at: usize, value: u32) {
    if let Some(bytes) = file.get_mut(at..at + 4) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Places of the program headers to load.
fn loads(file: &[u8]) -> Vec<usize> {
    let first = word(file, PROGRAM_HEADERS) as usize;
    let headers = (0..16).map(|i| first + i * PROGRAM_HEADER);
    headers.filter(|at| word(file, *at) == LOAD && word(file, at + MEMORY_SIZE) > 0).collect()
}

/// Moves the second segment to where `to` says, given the address of the first.
fn move_second(file: &mut [u8], to: fn(u32) -> u32) {
    if let [first, second, ..] = loads(file)[..] {
        let address = to(word(file, first + PHYSICAL));
        put(file, second + PHYSICAL, address);
    }
}

/// The same of a file that names no section headers, which come after the segments.
fn cut_without_sections(file: &mut Vec<u8>) {
    put(file, SECTION_HEADERS, 0);
    put(file, SECTIONS, 0);
    cut(file);
}

/// Leaves out the last byte of the last segment, and with it what comes after.
fn cut(file: &mut Vec<u8>) {
    if let Some(last) = loads(file).last() {
        let end = word(file, last + OFFSET) + word(file, last + FILE_SIZE);
        file.truncate(end as usize - 1);
    }
}

/// Gives the Multiboot header this magic and these flags.
fn flags_at(file: &mut [u8], magic: u32, flags: u32) {
    let at = (0..file.len()).step_by(4).find(|at| word(file, *at) == MAGIC).unwrap_or(file.len());
    put(file, at, magic);
    put(file, at + 4, flags);
    put(file, at + 8, 0u32.wrapping_sub(magic).wrapping_sub(flags));
}

/// The command with these arguments is refused by one sentence, and nothing boots.
pub(super) fn refused(name: &str, arguments: &[&str], sentence: &str, failures: &mut Vec<String>) -> Outcome {
    let run = Run::new(&format!("refused: {name}"), 5, arguments)?.ends_with(2).says(sentence);
    let errors = run.ran.text.lines().filter(|line| line.starts_with("error: ")).count();
    let booted = !run.ran.guest.is_empty() || run.ran.text.contains("simulated machine");
    if errors != 1 || booted {
        failures.push(format!("refused: {name}: {errors} sentences, booted: {booted}"));
    }
    run.finish(failures);
    Ok(())
}

/// Each refusal, each failure of one with its name.
pub fn check(failures: &mut Vec<String>) -> Outcome {
    let folder = output("kernel-tests/refused")?;
    let good = Guest::new("protected").image()?;
    if loads(&good).len() < 2 || word(&good, loads(&good)[1] + FILE_SIZE) == 0 {
        return Err(Failure::Check("the kernel to be damaged has not two segments".to_owned()));
    }
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.join(name);
        fs::write(&file, bytes).map_err(|e| unwritable(&file, &e))?;
        Ok(file.to_string_lossy().into_owned())
    };
    for (name, damage, sentence) in FILES {
        let mut file = good.clone();
        damage(&mut file);
        let file = write(name, &file)?;
        refused(name, &["--guest", &file], sentence, failures)?;
    }
    let large = write("large", &vec![1; 5 << 20])?;
    let nothing = write("nothing", &[])?;
    let long = "a".repeat(5000);
    let cases: [(&str, &[&str], &str); 8] = [
        ("initrd too large", &["--memory", "4", "--initrd", &large], "does not fit"),
        ("initrd empty", &["--initrd", &nothing], "is empty"),
        ("initrd missing", &["--initrd", "/no/such/file"], "cannot be read"),
        ("more than the machine", &["--memory", "1026"], "the machine has room for guests of 4 to 1024 MiB"),
        ("too little memory", &["--memory", "2"], "the machine has room for guests of 4 to 1024 MiB"),
        ("odd memory", &["--memory", "5"], "even number of MiB"),
        ("long command line", &["--append", &long], "at most 2047 are possible"),
        ("a file that is not there", &["--guest", "/no/such/kernel"], "cannot be read"),
    ];
    for (name, arguments, sentence) in cases {
        let guest = if arguments.contains(&"--guest") { [].as_slice() } else { &["--guest", "multiboot"] };
        refused(name, &[guest, arguments].concat(), sentence, failures)?;
    }
    let other = write("other-channel.toml", b"[[vm]]\nname = \"guest\"\nchannel = 7\n")?;
    refused("a policy without its VM", &["--policy", &other], "no VM has channel 1", failures)?;
    let held = claim(&output("replay")?)?;
    let trace = root().join("tests/system/replay/count.trace").to_string_lossy().into_owned();
    let replay = ["--machine", "qemu", "--replay", &trace];
    refused("a replay beside another", &replay, "another run uses", failures)?;
    drop(held);
    for (name, arguments) in [("command line", ["--append", "a"]), ("initrd", ["--initrd", &large])] {
        let arguments = [["--guest", "idle"], arguments].concat();
        refused(&format!("{name} of a plain file"), &arguments, "leave --", failures)?;
    }
    Ok(())
}
