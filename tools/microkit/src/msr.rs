//! The MSR system calls of the SDK's configuration *benchmark*, which the bundled kernel has not: here a VCPU capability's
//! PMU right does what they are for. The names are those of the SDK's runtime (tools/sdk).

use crate::Error;

/// Whether this kernel has the calls.
pub const AVAILABLE: bool = false;

/// Refused.
pub fn read(_: u32) -> Result<u64, Error> {
    Err(Error::IllegalOperation)
}

/// Refused.
pub fn write(_: u32, _: u64) -> Result<(), Error> {
    Err(Error::IllegalOperation)
}
