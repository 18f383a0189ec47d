//! The SDK's folder, and what can be wrong with it.

use super::{Name, VARIABLE};
use crate::process::{Failure, Outcome};
use std::fs;
use std::path::{Path, PathBuf};

/// The board of VMs.
pub const BOARD: &str = "x86_64_generic_vtx";
/// The versions that this project knows begin so.
const VERSION: &str = "2.3.";

/// A Microkit SDK with our board, in one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdk {
    folder: PathBuf,
    version: String,
    config: Name,
}

impl Sdk {
    /// The SDK in `folder`.
    ///
    /// # Errors
    /// No folder, none of an SDK, another version, or one without the board or the configuration: what to do about it.
    pub fn find(folder: Option<&Path>, config: Name) -> Outcome<Self> {
        let refuse = |what: String| Err(Failure::Environment(what));
        let Some(folder) = folder else {
            return refuse(format!(
                "no Microkit SDK is named: give `--sdk DIR`, or set {VARIABLE} to the folder of an unpacked SDK 2.3"
            ));
        };
        let place = folder.display();
        let Ok(version) = fs::read_to_string(folder.join("VERSION")) else {
            return refuse(format!(
                "{place} is no Microkit SDK (it has no file VERSION): name the folder of an unpacked SDK 2.3"
            ));
        };
        let version = version.trim().to_owned();
        if !version.starts_with(VERSION) {
            return refuse(format!(
                "{place} is the Microkit SDK {version}: this project is made for 2.3; unpack an SDK 2.3 and name it"
            ));
        }
        let boards = folder.join("board");
        if !boards.join(BOARD).is_dir() {
            return refuse(format!(
                "the Microkit SDK {place} has no board {BOARD} (it has: {}): take an SDK with this board",
                names(&boards)
            ));
        }
        let sdk = Self { folder: absolute(folder)?, version, config };
        if !sdk.board().join("elf/sel4_32.elf").is_file() {
            return refuse(format!(
                "the Microkit SDK {place} has no configuration {} of {BOARD} (it has: {}): choose another by --config",
                config.as_str(),
                names(&boards.join(BOARD))
            ));
        }
        if !sdk.tool().is_file() {
            return refuse(format!("the Microkit SDK {place} has no bin/microkit: unpack it again, whole"));
        }
        Ok(sdk)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The configuration.
    pub const fn config(&self) -> Name {
        self.config
    }

    /// The folder of the board in the configuration.
    pub fn board(&self) -> PathBuf {
        self.folder.join("board").join(BOARD).join(self.config.as_str())
    }

    /// The tool.
    pub fn tool(&self) -> PathBuf {
        self.folder.join("bin/microkit")
    }
}

fn absolute(folder: &Path) -> Outcome<PathBuf> {
    fs::canonicalize(folder).map_err(|e| Failure::Environment(format!("{}: {e}", folder.display())))
}

/// The entries of a folder, as text.
fn names(folder: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{BOARD, Sdk};
    use crate::sdk::Name;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn empty(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-sdk-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for a test");
        folder
    }

    fn put(folder: &Path, file: &str, text: &str) {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().expect("it is in a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }

    #[track_caller]
    fn refused(folder: Option<&Path>, config: Name, parts: &[&str]) {
        let failure = Sdk::find(folder, config).expect_err("it is refused");
        assert!(matches!(failure, crate::process::Failure::Environment(_)), "exit code 2");
        let message = failure.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    /// Each step to a whole SDK, and what is said before it.
    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        refused(None, Name::Benchmark, &["no Microkit SDK is named", "--sdk DIR", "MICROKIT_SDK"]);
        let folder = empty("steps");
        let find = |parts: &[&str]| refused(Some(&folder), Name::Benchmark, parts);
        find(&["is no Microkit SDK", "name the folder"]);
        put(&folder, "VERSION", "2.2.0\n");
        find(&["is the Microkit SDK 2.2.0", "unpack an SDK 2.3"]);
        put(&folder, "VERSION", "2.3.0\n");
        put(&folder, "board/odroidc4/debug/elf/sel4.elf", "");
        find(&["has no board x86_64_generic_vtx (it has: odroidc4)", "take an SDK"]);
        put(&folder, &format!("board/{BOARD}/debug/elf/sel4_32.elf"), "");
        find(&["has no configuration benchmark", "(it has: debug)", "--config"]);
        put(&folder, &format!("board/{BOARD}/benchmark/elf/sel4_32.elf"), "");
        find(&["has no bin/microkit", "unpack it again"]);
        put(&folder, "bin/microkit", "");
        let sdk = Sdk::find(Some(&folder), Name::Benchmark).expect("it is whole");
        assert_eq!((sdk.version(), sdk.config()), ("2.3.0", Name::Benchmark));
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}
