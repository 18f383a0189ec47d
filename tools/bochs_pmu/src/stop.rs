//! The end of the process when an assumption does not hold.
#![forbid(unsafe_code)]

use std::fmt::Display;

/// The exit code of a process that this library ended.
pub const EXIT_CODE: i32 = 97;

/// Prints one sentence to standard error and ends the process.
pub fn stop(sentence: impl Display) -> ! {
    eprintln!("bochs_pmu: {sentence}");
    std::process::exit(EXIT_CODE)
}

/// The value, or the end of the process.
pub trait OrStop<T> {
    /// Unwraps, or ends the process with the error's text.
    fn or_stop(self) -> T;
}

impl<T, E: Display> OrStop<T> for Result<T, E> {
    fn or_stop(self) -> T {
        self.unwrap_or_else(|error| stop(error))
    }
}
