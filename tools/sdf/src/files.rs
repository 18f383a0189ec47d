//! Files that a description names.

use std::path::{Path, PathBuf};

/// The first file with this path below one of the folders `search`; an absolute path is taken as it is.
pub(crate) fn find(path: &Path, search: &[PathBuf]) -> Option<PathBuf> {
    search.iter().map(|folder| folder.join(path)).find(|file| file.exists())
}
