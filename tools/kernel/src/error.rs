use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a kernel was not built.
#[derive(Debug)]
pub enum Error {
    /// A file or folder cannot be read or written.
    Io(PathBuf, io::Error),
    /// A program is not there.
    Missing(String, io::Error),
    /// A program failed; the last lines that it printed.
    Failed(String, String),
    /// Cargo does not know the crate with the kernel's source.
    Source(String),
    /// A mend does not fit the source: the mend's file, the line in it, and why.
    Mend(PathBuf, usize, String),
    /// The kernel's headers do not say what user level needs to know.
    Abi(String),
}

impl Error {
    /// For `map_err`: the error of an operation on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |error| Error::Io(path, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Missing(program, error) => {
                write!(f, "`{program}` could not be started ({error}); run `cargo xtask doctor`")
            }
            Error::Failed(what, tail) => write!(f, "{what} failed:\n{tail}"),
            Error::Source(why) => write!(f, "the kernel's source: {why}"),
            Error::Mend(file, line, why) => write!(f, "{}:{line}: {why}", file.display()),
            Error::Abi(why) => write!(f, "the kernel's headers: {why}"),
        }
    }
}

impl std::error::Error for Error {}
