//! From the distribution to running threads.

use crate::error::Error;
use crate::give_up::Hold;
use crate::kernel::Kernel;
use crate::{fill, objects, slots, threads};
use capdist::View;
use sel4_abi::{BootInfo, Ipc};

/// A system that runs, and what the root task still holds of it.
pub struct Realised {
    /// Number of objects.
    pub objects: u32,
    /// Number of threads started.
    pub threads: u32,
    /// What is to be given up.
    pub hold: Hold,
}

/// Makes the system that `distribution` describes and starts its threads, which run as soon as the root task
/// does not.
///
/// # Errors
/// The distribution is malformed, or the machine or the kernel cannot give what it asks for.
pub fn realise<'a>(
    ipc: &mut Ipc,
    boot_info: &BootInfo,
    distribution: &'a [u8],
) -> Result<Realised, Error<'a>> {
    let view = View::parse(distribution).map_err(Error::Distribution)?;
    let mut kernel = Kernel::new(ipc, boot_info, view)?;
    objects::make(&mut kernel)?;
    fill::fill(&mut kernel)?;
    slots::fill(&mut kernel)?;
    threads::configure(&mut kernel)?;
    let hold = Hold::new(&mut kernel, boot_info)?;
    let threads = threads::start(&mut kernel)?;
    Ok(Realised { objects: view.object_count(), threads, hold })
}
