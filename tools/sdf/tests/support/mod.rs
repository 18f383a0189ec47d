//! Program images and system descriptions for tests, in a folder of their own that is removed at the end.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a broken test setup ends the test")]

use sdf::{Distribution, Error, Options};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where programs of [`elf`] begin, and their entry point.
pub const BASE: u64 = 0x20_0000;
/// The page after it: data, written by symbols.
pub const DATA: u64 = BASE + 0x1000;
/// The third page, without bytes in the file.
pub const ZEROED: u64 = DATA + 0x1000;

/// A program of three pages: text, data and zeroed memory; `symbols` are name, address and size.
pub fn elf(symbols: &[(&str, u64, u64)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut table = vec![0; 24];
    for (name, address, size) in symbols {
        table.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        names.extend(name.bytes().chain([0]));
        // A global object in section 1.
        table.extend([0x11, 0, 1, 0]);
        table.extend(address.to_le_bytes());
        table.extend(size.to_le_bytes());
    }
    let (headers, pages) = (64 + 2 * 56, 0x2000_u64);
    let (table_at, names_at) = (0x1000 + pages, 0x1000 + pages + table.len() as u64);
    let sections_at = names_at + names.len() as u64;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let long = |out: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    half(&mut out, &[2, 62, 1, 0]);
    long(&mut out, &[BASE, 64, sections_at]);
    half(&mut out, &[0, 0, 64, 56, 2, 64, 4, 3]);
    // Text: readable and executable; data: readable and writable, twice as long in memory.
    for (flags, offset, address, size, memory) in
        [(5, 0x1000, BASE, 0x1000, 0x1000), (6, 0x2000, DATA, 0x1000, 0x2000_u64)]
    {
        half(&mut out, &[1, 0, flags, 0]);
        long(&mut out, &[offset, address, address, size, memory, 0x1000]);
    }
    assert_eq!(out.len(), headers);
    out.resize(0x1000, 0);
    out.extend(vec![0xcc; 0x1000]);
    out.extend(vec![0; 0x1000]);
    out.extend(&table);
    out.extend(&names);
    let section = |out: &mut Vec<u8>, kind: u64, offset, size: usize, link: u64, entry| {
        long(out, &[kind << 32, 0, 0, offset, size as u64, link, 1, entry]);
    };
    section(&mut out, 0, 0, 0, 0, 0);
    section(&mut out, 1, 0x1000, 0x1000, 0, 0);
    section(&mut out, 2, table_at, table.len(), 3 | 1 << 32, 24);
    section(&mut out, 3, names_at, names.len(), 0, 0);
    out
}

/// A folder with programs and a description.
pub struct System {
    folder: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl System {
    /// A folder with `xml` as system.xml, a monitor, and a program `pd.elf` with the symbols given.
    pub fn new(xml: &str, symbols: &[(&str, u64, u64)]) -> System {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sdf-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let system = System { folder };
        system.file("system.xml", xml.as_bytes());
        system.file("pd.elf", &elf(symbols));
        let monitor =
            [("pd_names", ZEROED, 64 * 63), ("pd_names_len", DATA, 8), ("kernel_prints", DATA + 8, 8)];
        system.file("monitor.elf", &elf(&monitor));
        system
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.join(name), bytes).unwrap();
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The distribution for a kernel that prints.
    pub fn build(&self) -> Result<Distribution, Error> {
        self.build_for(true)
    }

    /// The distribution.
    pub fn build_for(&self, kernel_prints: bool) -> Result<Distribution, Error> {
        let options = Options { monitor: self.path("monitor.elf"), kernel_prints };
        sdf::build(&self.path("system.xml"), std::slice::from_ref(&self.folder), &options)
    }

    /// The error without the folder's path.
    pub fn refusal(&self) -> String {
        let Err(error) = self.build() else { panic!("must be refused") };
        let error = error.to_string();
        error.replace(&format!("{}/", self.folder.display()), "")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
