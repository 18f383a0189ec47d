//! The boot container: a kernel's file with command line and initrd, as one file.

use super::LoadError;

/// The first word of a boot container.
const MAGIC: [u8; 8] = *b"vmmboot1";
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Bytes of the header: the magic, then the sizes of kernel, command line and initrd.
pub const HEADER: usize = 4 * WORD;
/// Each part begins at a multiple of this.
pub const ALIGNMENT: usize = 16;

/// What a guest starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Container<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// The command line, without a 0 at its end.
    pub command_line: &'a [u8],
    /// The initial RAM disk; empty is none.
    pub initrd: &'a [u8],
}

impl<'a> Container<'a> {
    /// The container at the start of `file`; a file that begins as none is a kernel.
    ///
    /// # Errors
    /// [`LoadError::Container`]
    pub fn parse(file: &'a [u8]) -> Result<Self, LoadError> {
        let Some((&MAGIC, sizes)) = file.split_first_chunk() else {
            return Ok(Self { kernel: file, command_line: &[], initrd: &[] });
        };
        let [kernel, command_line, initrd] = parts(sizes).ok_or(LoadError::Container)?;
        Ok(Self { kernel, command_line, initrd })
    }

    /// The header of the file that [`Self::parse`] reads.
    pub fn header(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let sizes = self.parts().map(|part| (part.len() as u64).to_le_bytes());
        for (to, word) in header.chunks_exact_mut(WORD).zip([MAGIC].iter().chain(&sizes)) {
            to.copy_from_slice(word);
        }
        header
    }

    /// What follows the header, each from a multiple of [`ALIGNMENT`] on.
    pub const fn parts(&self) -> [&'a [u8]; 3] {
        [self.kernel, self.command_line, self.initrd]
    }
}

/// The parts after the magic: three sizes, and then the bytes.
fn parts(after_magic: &[u8]) -> Option<[&[u8]; 3]> {
    let (sizes, mut rest) = after_magic.split_at_checked(HEADER - WORD)?;
    let mut parts = [&[][..]; 3];
    for (part, size) in parts.iter_mut().zip(sizes.chunks_exact(WORD)) {
        let size = usize::try_from(u64::from_le_bytes(size.try_into().ok()?)).ok()?;
        *part = rest.get(..size)?;
        // The last part need not be padded.
        rest = rest.get(size.checked_next_multiple_of(ALIGNMENT)?..).unwrap_or_default();
    }
    Some(parts)
}
