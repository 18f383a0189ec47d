//! What is wrong with a system description or with a program that it names.

use std::fmt;
use std::path::{Path, PathBuf};

/// One sentence that names the place and the reason, as `FILE:LINE: REASON`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// The line, from 1; `None` where the whole file is meant.
    pub line: Option<u32>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Error {
    /// An error about a whole file.
    pub(crate) fn file(file: &Path, reason: impl Into<String>) -> Error {
        Error { file: file.to_path_buf(), line: None, reason: reason.into() }
    }

    /// An error about a line of a file.
    pub(crate) fn line(file: &Path, line: u32, reason: impl Into<String>) -> Error {
        Error { file: file.to_path_buf(), line: Some(line), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.reason)
    }
}

impl std::error::Error for Error {}
