//! A small last-level cache: what LLC references and misses mean on this machine.
//!
//! 4 MiB, physically indexed, 64-byte lines, 8192 sets of 8 ways, least recently used replacement. There is
//! no cache before it, so every data access is a reference. A miss also fills the neighbour in the same
//! 128-byte pair, as the spatial prefetcher of Intel processors does; that counts as neither. The cache starts
//! empty.

const SETS: usize = 8192;
const WAYS: usize = 8;
const LINE_SHIFT: u32 = 6;

/// The outcome of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The line was there.
    Hit,
    /// It was not.
    Miss,
}

/// The cache's tags. 512 KiB: keep it in static or heap storage.
#[derive(Clone)]
pub struct Llc {
    /// Line numbers plus one, most recently used first; 0 is an empty way.
    sets: [[u64; WAYS]; SETS],
}

impl Llc {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { sets: [[0; WAYS]; SETS] }
    }

    /// Accesses the line that holds physical address `address`.
    pub fn access(&mut self, address: u64) -> Lookup {
        let line = address >> LINE_SHIFT;
        let found = self.touch(line);
        if found == Lookup::Miss {
            self.touch(line ^ 1);
        }
        found
    }

    fn touch(&mut self, line: u64) -> Lookup {
        let tag = line + 1;
        let set = &mut self.sets[usize::try_from(line % SETS as u64).unwrap_or(0)];
        let position = set.iter().position(|&way| way == tag);
        set[..=position.unwrap_or(WAYS - 1)].rotate_right(1);
        set[0] = tag;
        if position.is_some() { Lookup::Hit } else { Lookup::Miss }
    }
}

impl Default for Llc {
    fn default() -> Self {
        Self::new()
    }
}
