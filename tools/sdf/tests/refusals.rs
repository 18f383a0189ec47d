//! Each rule of the dialect has a fixture that breaks it. The first line of a fixture is a comment with the line
//! of the mistake (0: the file as a whole) and what the reason must contain: `<!-- 7: REASON -->`.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixtures() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "xml")).collect();
    fixtures.sort();
    fixtures
}

/// The line and the reason in a fixture's first line.
fn expected(path: &Path) -> (u32, String) {
    let xml = fs::read_to_string(path).unwrap();
    let comment = xml.lines().next().and_then(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->"));
    let (line, reason) = comment.and_then(|c| c.split_once(": ")).unwrap();
    (line.parse().unwrap(), reason.to_owned())
}

/// What is wrong with the refusal of a fixture.
fn judge(path: &Path) -> Option<String> {
    let (line, reason) = expected(path);
    let line = Some(line).filter(|line| *line != 0);
    match sdf::program_images(path, &[folder().join("files")]) {
        Ok(_) => Some("accepted".to_owned()),
        Err(error) if error.file == path && error.line == line && error.reason.contains(&reason) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn every_fixture_is_refused_with_file_line_and_reason() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 150, "the fixtures are missing: {} found", fixtures.len());
    let wrong = fixtures.iter().filter_map(|path| Some(format!("{}: {}", path.display(), judge(path)?)));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), fixtures.len(), wrong.join("\n"));
}

#[test]
fn a_missing_description_is_refused_by_its_name() {
    let path = folder().join("not_there.xml");
    let error = sdf::program_images(&path, &[]).expect_err("there is no such file");
    assert_eq!(error.file, path);
    assert!(error.reason.starts_with("cannot be read: "), "{error}");
}

#[test]
fn an_error_reads_as_file_line_reason() {
    let path = folder().join("domain_priority_255.xml");
    let error = sdf::program_images(&path, &[]).expect_err("the priority is too high");
    let text = format!("{}:3: protection_domain: priority must be 0 to 254", path.display());
    assert_eq!(error.to_string(), text);
}

proptest! {
    /// Whatever is in a description, it is accepted or refused: here a fixture with a part of another in it.
    #[test]
    fn no_description_makes_the_reader_panic(
        (one, other) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        cuts in prop::array::uniform4(any::<prop::sample::Index>()),
    ) {
        let fixtures = fixtures();
        let text = |index: prop::sample::Index| fs::read(&fixtures[index.index(fixtures.len())]).unwrap();
        let (one, other) = (text(one), text(other));
        let cut = |text: &[u8], a: prop::sample::Index, b: prop::sample::Index| {
            let (a, b) = (a.index(text.len()), b.index(text.len()));
            a.min(b)..a.max(b)
        };
        let (hole, part) = (cut(&one, cuts[0], cuts[1]), cut(&other, cuts[2], cuts[3]));
        let mixed = [&one[..hole.start], &other[part], &one[hole.end..]].concat();
        let path = std::env::temp_dir().join(format!("sdf-mixed-{}.xml", std::process::id()));
        fs::write(&path, mixed).unwrap();
        let result = sdf::program_images(&path, &[folder().join("files")]);
        if let Err(error) = result {
            prop_assert_eq!(error.file, path.clone());
        }
        fs::remove_file(&path).unwrap();
    }
}
