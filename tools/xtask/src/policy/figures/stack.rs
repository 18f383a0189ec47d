//! How deep a program's stack gets, from its disassembly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is known about a program's stack.
#[derive(Debug, PartialEq, Eq)]
pub struct Depth {
    /// Bytes on the deepest path of direct calls from the entry point.
    pub direct: u64,
    /// Bytes of all frames of functions that are only called by pointer (formatting of debug lines) together.
    pub by_pointer: u64,
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes on the deepest path of direct calls, none recursive; formatting functions, called by \
             pointer: {} bytes in all",
            self.direct, self.by_pointer
        )
    }
}

#[derive(Default)]
struct Function<'a> {
    frame: u64,
    calls: BTreeSet<&'a str>,
}

/// The depth of the program whose `objdump --disassemble --no-show-raw-insn` this is. A frame is what a function pushes and
/// subtracts, whether or not on one path.
///
/// # Errors
/// A sentence that names a recursive function, or says that there is no entry point.
pub fn analyse(disassembly: &str) -> Result<Depth, String> {
    let functions = parse(disassembly);
    if !functions.contains_key("_start") {
        return Err("the disassembly has no _start".into());
    }
    let mut depths = BTreeMap::new();
    let direct = depth(&functions, "_start", &mut Vec::new(), &mut depths)?;
    let unreached = functions.iter().filter(|(name, _)| !depths.contains_key(*name));
    Ok(Depth { direct, by_pointer: unreached.map(|(_, function)| function.frame + 8).sum() })
}

fn parse(disassembly: &str) -> BTreeMap<&str, Function<'_>> {
    let mut functions: BTreeMap<&str, Function<'_>> = BTreeMap::new();
    let mut current = "";
    for line in disassembly.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| Some(line.split_once(" <")?.1)) {
            current = name;
        }
        let Some((_, instruction)) = line.split_once(":\t") else { continue };
        let function = functions.entry(current).or_default();
        let (operation, operands) = instruction.split_once(' ').unwrap_or((instruction, ""));
        let operands = operands.trim();
        match operation {
            "push" => function.frame += 8,
            "sub" if operands.ends_with(",%rsp") => function.frame += immediate(operands),
            "call" | "jmp" => function.calls.extend(callee(operands).filter(|name| *name != current)),
            // A call to oneself is recursion; a jump is a loop.
            _ => {}
        }
        if operation == "call" && callee(operands) == Some(current) {
            function.calls.insert(current);
        }
    }
    functions
}

/// The number in `$0x20,%rsp`.
fn immediate(operands: &str) -> u64 {
    let digits = operands.strip_prefix("$0x").and_then(|rest| rest.split(',').next());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// The function in `401000 <name>`; a place inside a function is that function.
fn callee(operands: &str) -> Option<&str> {
    let name = operands.split_once(" <")?.1.strip_suffix('>')?;
    match name.rsplit_once("+0x") {
        Some((function, offset)) if offset.chars().all(|c| c.is_ascii_hexdigit()) => Some(function),
        _ => Some(name),
    }
}

fn depth<'a>(
    functions: &BTreeMap<&'a str, Function<'a>>,
    name: &'a str,
    path: &mut Vec<&'a str>,
    known: &mut BTreeMap<&'a str, u64>,
) -> Result<u64, String> {
    if path.contains(&name) {
        return Err(format!("{name} is recursive"));
    }
    if let Some(&depth) = known.get(name) {
        return Ok(depth);
    }
    let Some(function) = functions.get(name) else { return Ok(0) };
    path.push(name);
    let mut deepest = 0;
    for callee in &function.calls {
        deepest = deepest.max(depth(functions, callee, path, known)?);
    }
    path.pop();
    // The return address is 8 bytes.
    let total = function.frame + deepest + 8;
    known.insert(name, total);
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::{Depth, analyse};

    const PROGRAM: &str = "\
0000000000201000 <_start>:
  201000:\tcall   201010 <main>
  201005:\tud2

0000000000201010 <main>:
  201010:\tpush   %rbx
  201011:\tsub    $0x20,%rsp
  201015:\tcall   201030 <leaf>
  20101a:\tjmp    201015 <main+0x5>
  20101f:\tcall   *%rax

0000000000201030 <leaf>:
  201030:\tsub    $0x100,%rsp
  201037:\tret

0000000000201040 <pointed>:
  201040:\tpush   %rax
  201041:\tret
";

    #[test]
    fn the_deepest_path_is_found() {
        let depth = analyse(PROGRAM);
        assert_eq!(depth, Ok(Depth { direct: 8 + (8 + 0x20 + 8) + (0x100 + 8), by_pointer: 16 }));
    }

    #[test]
    fn recursion_is_refused_by_name() {
        let direct = PROGRAM.replace("sub    $0x100,%rsp", "call   201030 <leaf>");
        assert_eq!(analyse(&direct), Err("leaf is recursive".into()));
        let mutual = PROGRAM.replace("sub    $0x100,%rsp", "call   201010 <main>");
        assert_eq!(analyse(&mutual), Err("main is recursive".into()));
        assert!(analyse("").is_err());
    }
}
