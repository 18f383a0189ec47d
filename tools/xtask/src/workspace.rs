//! Where things are.

use crate::process::{Failure, Outcome};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tools/xtask is two folders deep")
}

/// Cargo's variable for where everything that is built goes.
const TARGET: &str = "CARGO_TARGET_DIR";

/// Where everything that is built goes: `$CARGO_TARGET_DIR` or `target/`; absolute, since other programs run elsewhere.
pub fn target() -> PathBuf {
    target_of(std::env::var_os(TARGET))
}

fn target_of(variable: Option<OsString>) -> PathBuf {
    let named = variable.map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&named).unwrap_or(named)
}

/// A folder of our own below [`target`], created if need be.
pub fn output(name: &str) -> Outcome<PathBuf> {
    let folder = target().join(name);
    fs::create_dir_all(&folder)
        .map_err(|e| Failure::Environment(format!("{} cannot be created: {e}", folder.display())))?;
    Ok(folder)
}

/// A folder that is one command's alone until this goes, or the command ends.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

/// Claims a folder, made if need be: what one command writes there must not come into what another makes of it.
///
/// # Errors
/// Another command has it; it cannot be written.
pub fn claim(folder: &Path) -> Outcome<Claim> {
    let failed = |e| unwritable(folder, &e);
    fs::create_dir_all(folder).map_err(failed)?;
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(Failure::Environment(format!(
            "another run uses {}; wait for it to end, or set CARGO_TARGET_DIR",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Makes `file` empty, before the work whose results it is to have: results that cannot be written are known then, and
/// those of another run are not taken for this one's.
///
/// # Errors
/// It cannot be written.
pub fn writable(file: &Path) -> Outcome {
    File::create(file).map(drop).map_err(|e| unwritable(file, &e))
}

/// Makes the files empty that are to have the results of a command.
///
/// # Errors
/// One cannot be written; two are one, or one is also an input of the command: the user would lose it.
pub fn results<'a>(files: impl IntoIterator<Item = &'a PathBuf>, inputs: &[&Path]) -> Outcome {
    let mut before = inputs.to_vec();
    for file in files {
        // Of devices, as /dev/null, nothing is lost.
        if before.iter().any(|other| is_same(file, other)) && (!file.exists() || file.is_file()) {
            return Err(Failure::Environment(format!(
                "{} is named twice, at least once for results: name another file",
                file.display()
            )));
        }
        before.push(file);
    }
    before[inputs.len()..].iter().try_for_each(|file| writable(file))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let by = |found: fn(&Path) -> io::Result<PathBuf>| matches!((found(one), found(other)), (Ok(one), Ok(other)) if one == other);
    by(|path| std::path::absolute(path)) || by(|path| path.canonicalize())
}

/// That a file or folder cannot be written.
pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Environment(format!("{} cannot be written: {error}", path.display()))
}

/// `cargo` in the workspace's root, the same toolchain as ours.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()).env(TARGET, target());
    command
}

#[cfg(test)]
mod tests {
    use super::{claim, results, root, target_of, writable};
    use std::fs;

    /// Cargo takes a relative one from where it is started, which is the workspace's root when we start it.
    #[test]
    fn the_target_folder_is_the_same_from_everywhere() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(target_of(Some("elsewhere".into())), here.join("elsewhere"));
        assert_eq!(target_of(Some("/elsewhere".into())), std::path::Path::new("/elsewhere"));
        assert_eq!(target_of(None), root().join("target"));
    }

    #[test]
    fn a_folder_is_one_commands_at_a_time() {
        let folder = std::env::temp_dir().join(format!("xtask-claim-{}", std::process::id()));
        let first = claim(&folder).unwrap();
        let refused = claim(&folder).err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(refused.contains("another run uses") && refused.contains("CARGO_TARGET_DIR"), "{refused}");
        drop(first);
        assert!(claim(&folder).is_ok());
        assert!(
            writable(&folder).is_err_and(|e| e.to_string().contains("cannot be written")),
            "it is a folder"
        );
        assert!(claim(&folder.join("lock")).is_err(), "it is a file");
        let results = folder.join("results");
        fs::write(&results, "another run's").unwrap();
        assert!(writable(&results).is_ok() && fs::read(&results).unwrap().is_empty());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn results_replace_neither_each_other_nor_an_input() {
        let folder = std::env::temp_dir().join(format!("xtask-results-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let [policy, link, result, other] =
            ["policy.toml", "link", "result", "other"].map(|name| folder.join(name));
        fs::write(&policy, "[[vm]]").unwrap();
        std::os::unix::fs::symlink(&policy, &link).unwrap();
        let again = folder.join(".").join("result");
        for (files, taken) in [
            ([&result, &other], true),
            ([&result, &again], false),
            ([&result, &policy], false),
            ([&result, &link], false),
        ] {
            let found = results(files, &[&policy]);
            assert_eq!(found.is_ok(), taken, "{files:?}");
            assert!(found.err().is_none_or(|failure| failure.to_string().contains("name another file")));
            assert_eq!(fs::read(&policy).unwrap(), b"[[vm]]");
        }
        let null = "/dev/null".into();
        assert!(results([&null, &null], &[]).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }
}
