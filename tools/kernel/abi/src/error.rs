use crate::numbers::error;
use core::fmt;

/// Why the kernel refused an invocation (seL4_Error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// An argument has no meaning.
    InvalidArgument,
    /// A capability is of the wrong kind or is missing.
    InvalidCapability,
    /// The capability does not allow the operation, or the object's state does not.
    IllegalOperation,
    /// An argument is outside its range.
    RangeError,
    /// An address or size is not aligned.
    AlignmentError,
    /// A capability address leads nowhere.
    FailedLookup,
    /// Too few arguments or capabilities.
    TruncatedMessage,
    /// A slot is in use.
    DeleteFirst,
    /// The untyped memory has children.
    RevokeFirst,
    /// The untyped memory is too small.
    NotEnoughMemory,
    /// A number that the kernel's headers do not define.
    Unknown(u64),
}

impl Error {
    /// The meaning of the label of a reply; `Ok` for success.
    ///
    /// # Errors
    /// Every label but that of success.
    pub fn from_label(label: u64) -> Result<(), Error> {
        Err(match label {
            error::NO_ERROR => return Ok(()),
            error::INVALID_ARGUMENT => Error::InvalidArgument,
            error::INVALID_CAPABILITY => Error::InvalidCapability,
            error::ILLEGAL_OPERATION => Error::IllegalOperation,
            error::RANGE_ERROR => Error::RangeError,
            error::ALIGNMENT_ERROR => Error::AlignmentError,
            error::FAILED_LOOKUP => Error::FailedLookup,
            error::TRUNCATED_MESSAGE => Error::TruncatedMessage,
            error::DELETE_FIRST => Error::DeleteFirst,
            error::REVOKE_FIRST => Error::RevokeFirst,
            error::NOT_ENOUGH_MEMORY => Error::NotEnoughMemory,
            other => Error::Unknown(other),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidArgument => f.write_str("invalid argument"),
            Error::InvalidCapability => f.write_str("invalid capability"),
            Error::IllegalOperation => f.write_str("illegal operation"),
            Error::RangeError => f.write_str("argument out of range"),
            Error::AlignmentError => f.write_str("not aligned"),
            Error::FailedLookup => f.write_str("capability address leads nowhere"),
            Error::TruncatedMessage => f.write_str("truncated message"),
            Error::DeleteFirst => f.write_str("slot in use"),
            Error::RevokeFirst => f.write_str("untyped memory has children"),
            Error::NotEnoughMemory => f.write_str("not enough memory"),
            Error::Unknown(label) => write!(f, "unknown error {label}"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::Error;
    use crate::numbers::error;

    #[test]
    fn success_is_label_zero_and_unknown_labels_are_kept() {
        assert_eq!(Error::from_label(error::NO_ERROR), Ok(()));
        assert_eq!(Error::from_label(error::NOT_ENOUGH_MEMORY), Err(Error::NotEnoughMemory));
        assert_eq!(Error::from_label(99), Err(Error::Unknown(99)));
    }
}
