//! Mends: edits of the published source that refuse a source which is not the one that they were written for.
//!
//! A file of `mends/` starts with comment lines (`#`) that say what is wrong, then for each source file:
//!
//! ```text
//! --- path/in/the/source
//! @@ LINE
//!  a line that must be there and stays
//! -a line that must be there and goes
//! +a line that comes
//! ```
//!
//! LINE is the number, in the published file, of the first line that must be there; every hunk names at least
//! one. Numbers are those of the published file whatever other mends do, so their order does not matter.

use crate::error::Error;
use crate::source;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One edit.
#[derive(Debug)]
pub struct Hunk {
    mend: PathBuf,
    mend_line: usize,
    target: String,
    /// Number of the first line in the published file, from 1.
    line: usize,
    /// Lines that must be there.
    old: Vec<String>,
    /// Lines that are there afterwards.
    new: Vec<String>,
}

/// The folder with the mends.
pub fn folder() -> PathBuf {
    source::home().join("mends")
}

/// Reads every mend of `folder`.
pub fn read_all(folder: &Path) -> Result<Vec<Hunk>, Error> {
    let mut hunks = Vec::new();
    for file in source::files(folder)? {
        let text = fs::read_to_string(&file).map_err(Error::io(&file))?;
        hunks.extend(parse(&file, &text)?);
    }
    Ok(hunks)
}

fn parse(mend: &Path, text: &str) -> Result<Vec<Hunk>, Error> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut target: Option<String> = None;
    let mut open = false;
    for (i, line) in text.lines().enumerate() {
        let refuse = |why: &str| Error::Mend(mend.to_owned(), i + 1, why.to_owned());
        if let Some(path) = line.strip_prefix("--- ") {
            target = Some(path.to_owned());
            open = false;
        } else if let Some(number) = line.strip_prefix("@@ ") {
            let target = target.clone().ok_or_else(|| refuse("a hunk before the first `--- FILE`"))?;
            let line = number.parse().map_err(|_| refuse("`@@` wants a line number"))?;
            let (mend, mend_line) = (mend.to_owned(), i + 1);
            hunks.push(Hunk { mend, mend_line, target, line, old: Vec::new(), new: Vec::new() });
            open = true;
        } else if open && let Some(hunk) = hunks.last_mut() {
            let rest = line.get(1..).unwrap_or_default().to_owned();
            match line.as_bytes().first() {
                Some(b'-') => hunk.old.push(rest),
                Some(b'+') => hunk.new.push(rest),
                Some(b' ') => {
                    hunk.old.push(rest.clone());
                    hunk.new.push(rest);
                }
                _ => return Err(refuse("a line of a hunk starts with ` `, `-` or `+`")),
            }
        } else if !line.starts_with('#') && !line.is_empty() {
            return Err(refuse("only comments may stand before the first hunk of a file"));
        }
    }
    match hunks.iter().find(|hunk| hunk.old.is_empty()) {
        Some(hunk) => Err(hunk.refuse("a hunk names at least one line that must be there".into())),
        None => Ok(hunks),
    }
}

impl Hunk {
    fn refuse(&self, why: String) -> Error {
        Error::Mend(self.mend.clone(), self.mend_line, why)
    }

    fn end(&self) -> usize {
        self.line + self.old.len()
    }
}

/// Applies `hunks` to the copy of the published source at `tree`.
pub fn apply_all(hunks: &[Hunk], tree: &Path) -> Result<(), Error> {
    let mut by_file: BTreeMap<&str, Vec<&Hunk>> = BTreeMap::new();
    for hunk in hunks {
        by_file.entry(&hunk.target).or_default().push(hunk);
    }
    for (target, mut hunks) in by_file {
        hunks.sort_by_key(|hunk| hunk.line);
        let path = tree.join(target);
        let text = fs::read_to_string(&path)
            .map_err(|e| hunks[0].refuse(format!("{target} of the kernel's source: {e}")))?;
        fs::write(&path, apply(target, &text, &hunks)?).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// `hunks` are sorted by line.
fn apply(target: &str, text: &str, hunks: &[&Hunk]) -> Result<String, Error> {
    let lines: Vec<&str> = text.lines().collect();
    let mut new: Vec<&str> = Vec::with_capacity(lines.len());
    let mut next = 1;
    for hunk in hunks {
        if hunk.line < next {
            return Err(hunk.refuse(format!("line {} of {target} is edited twice", hunk.line)));
        }
        let (Some(before), Some(there)) =
            (lines.get(next - 1..hunk.line - 1), lines.get(hunk.line - 1..hunk.end() - 1))
        else {
            return Err(hunk.refuse(format!("{target} has only {} lines", lines.len())));
        };
        if let Some(i) = (0..there.len()).find(|&i| there[i] != hunk.old[i]) {
            let (line, found, wanted) = (hunk.line + i, there[i], &hunk.old[i]);
            return Err(hunk.refuse(format!(
                "line {line} of {target} is `{found}`, but the mend was written for `{wanted}`"
            )));
        }
        new.extend(before);
        new.extend(hunk.new.iter().map(String::as_str));
        next = hunk.end();
    }
    new.extend(&lines[next - 1..]);
    Ok(new.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::{apply, parse};
    use crate::error::Error;
    use std::path::Path;

    const SOURCE: &str = "one\ntwo\nthree\nfour\n";

    fn edit(mend: &str) -> Result<String, Error> {
        let mut hunks = parse(Path::new("x.mend"), mend)?;
        hunks.sort_by_key(|hunk| hunk.line);
        apply("f.c", SOURCE, &hunks.iter().collect::<Vec<_>>())
    }

    fn refusal(mend: &str) -> String {
        edit(mend).expect_err("must be refused").to_string()
    }

    #[test]
    fn lines_are_replaced_inserted_and_removed() {
        let mend = "# why\n--- f.c\n@@ 4\n-four\n@@ 1\n one\n+one and a half\n@@ 2\n-two\n+2\n";
        assert_eq!(edit(mend).ok().as_deref(), Some("one\none and a half\n2\nthree\n"));
    }

    #[test]
    fn another_source_is_refused_with_file_and_line() {
        let text = refusal("--- f.c\n@@ 2\n-zwei\n+2\n");
        assert_eq!(text, "x.mend:2: line 2 of f.c is `two`, but the mend was written for `zwei`");
    }

    #[test]
    fn a_shorter_source_is_refused() {
        assert!(refusal("--- f.c\n@@ 4\n-four\n-five\n").contains("f.c has only 4 lines"));
    }

    #[test]
    fn two_edits_of_one_line_are_refused() {
        assert!(refusal("--- f.c\n@@ 1\n-one\n-two\n@@ 2\n-two\n").contains("line 2 of f.c is edited twice"));
    }

    #[test]
    fn an_insertion_without_a_line_to_hold_on_to_is_refused() {
        assert!(refusal("--- f.c\n@@ 2\n+new\n").contains("at least one line"));
    }

    #[test]
    fn text_outside_a_hunk_is_refused() {
        assert!(refusal("--- f.c\nstray\n").contains("x.mend:2"));
    }
}
