//! Program images: the segments of an ELF file, and the symbols that the tool sets in them.

use crate::error::Error;
use crate::model::{MAX_PAGES, SMALL_PAGE};
use object::elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_W, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object as _, ObjectSymbol as _};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A program: its segments as they are to be in memory, and its symbols.
pub(crate) struct Program {
    path: PathBuf,
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    /// Those that are defined; `None` where several have the name.
    symbols: HashMap<String, Option<Symbol>>,
}

/// A segment that is loaded.
pub(crate) struct Segment {
    pub(crate) address: u64,
    /// Bytes in memory; those after `data` are 0.
    pub(crate) size: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) write: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Symbol {
    address: u64,
    size: u64,
}

/// A page of a program: its bytes and whether it may be written.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    pub(crate) write: bool,
}

impl Program {
    /// Reads the ELF file `path`; symbols come from `symbols` where given.
    pub(crate) fn read(path: &Path, symbols: Option<&Path>) -> Result<Program, Error> {
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
        let mut program = Program::parse(path, &bytes)?;
        if let Some(symbols) = symbols {
            let bytes =
                std::fs::read(symbols).map_err(|e| Error::file(symbols, format!("cannot be read: {e}")))?;
            program.symbols = Program::parse(symbols, &bytes)?.symbols;
        }
        Ok(program)
    }

    /// Reads an ELF file from memory; `path` is what errors call it.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Program, Error> {
        let error = |e: object::read::Error| Error::file(path, format!("no ELF file for x86-64: {e}"));
        let elf = ElfFile64::<Endianness>::parse(bytes).map_err(error)?;
        let (endian, header) = (elf.endian(), elf.elf_header());
        if header.e_machine(endian) != EM_X86_64 || header.e_type(endian) != ET_EXEC {
            return Err(Error::file(path, "no static ELF executable (ET_EXEC) for x86-64"));
        }
        let (mut segments, mut pages) = (Vec::new(), 0_u64);
        for part in elf.elf_program_headers() {
            let size = part.p_memsz(endian);
            if part.p_type(endian) != PT_LOAD || size == 0 {
                continue;
            }
            let data = part
                .data(endian, bytes)
                .map_err(|()| Error::file(path, "a segment's bytes are outside the file"))?;
            let address = part.p_vaddr(endian);
            if data.len() as u64 > size || address.checked_add(size).is_none() {
                return Err(Error::file(path, format!("the segment at {address:#x} has an impossible size")));
            }
            pages += (address + size).div_ceil(SMALL_PAGE) - address / SMALL_PAGE;
            if pages > MAX_PAGES {
                let reason =
                    format!("its segments have {pages} pages, and the root task has slots for {MAX_PAGES}");
                return Err(Error::file(path, reason));
            }
            let write = part.p_flags(endian).0 & PF_W.0 != 0;
            segments.push(Segment { address, size, data: data.to_vec(), write });
        }
        let mut symbols = HashMap::new();
        for symbol in elf.symbols().filter(|symbol| symbol.is_definition()) {
            let here = Some(Symbol { address: symbol.address(), size: symbol.size() });
            let name = symbol.name().map_err(error)?.to_owned();
            symbols.entry(name).and_modify(|one| *one = here.filter(|_| *one == here)).or_insert(here);
        }
        let entry = FileHeader64::e_entry(header, endian);
        Ok(Program { path: path.to_path_buf(), entry, segments, symbols })
    }

    /// Address and size of a symbol, if there is one; an error if there are several.
    pub(crate) fn symbol(&self, name: &str) -> Result<Option<(u64, u64)>, Error> {
        match self.symbols.get(name) {
            None => Ok(None),
            Some(Some(symbol)) => Ok(Some((symbol.address, symbol.size))),
            Some(None) => {
                Err(Error::file(&self.path, format!("has several symbols '{name}'; rename all but one")))
            }
        }
    }

    /// Sets the symbol `name`, if there is one, to `bytes` and then zeros up to its size.
    pub(crate) fn set_if_present(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.symbol(name)? {
            None => Ok(()),
            Some((_, size)) if size < bytes.len() as u64 => {
                let reason = format!("symbol '{name}' has {size} bytes, but its value has {}", bytes.len());
                Err(Error::file(&self.path, reason))
            }
            Some((address, size)) => self.write(name, address, size, bytes),
        }
    }

    /// Sets the word at symbol `name`, which must be there and have the size of a word.
    pub(crate) fn set_word(&mut self, name: &str, value: u64) -> Result<(), Error> {
        match self.symbol(name)? {
            None => Err(Error::file(&self.path, format!("has no symbol '{name}'"))),
            Some((address, 8)) => self.write(name, address, 8, &value.to_le_bytes()),
            Some((_, size)) => {
                Err(Error::file(&self.path, format!("symbol '{name}' must have 8 bytes, not {size}")))
            }
        }
    }

    /// Sets the `length` bytes from `address` on to `bytes` and then zeros.
    fn write(&mut self, name: &str, address: u64, length: u64, bytes: &[u8]) -> Result<(), Error> {
        let inside = |s: &&mut Segment| {
            address
                .checked_sub(s.address)
                .is_some_and(|at| at.checked_add(length).is_some_and(|end| end <= s.size))
        };
        let segment = self.segments.iter_mut().find(inside).ok_or_else(|| {
            Error::file(&self.path, format!("symbol '{name}' is in no segment that is loaded"))
        })?;
        let start = usize::try_from(address - segment.address).unwrap_or(usize::MAX);
        let end = start + usize::try_from(length).unwrap_or_default();
        if segment.data.len() < end {
            segment.data.resize(end, 0);
        }
        segment.data[start..end].fill(0);
        segment.data[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// The program's pages, by address. Where two segments share a page, it may be written if one may.
    pub(crate) fn pages(&self) -> BTreeMap<u64, Page> {
        let mut pages = BTreeMap::new();
        let page_size = usize::try_from(SMALL_PAGE).unwrap_or_default();
        for segment in &self.segments {
            let end = segment.address + segment.size;
            for base in (segment.address / SMALL_PAGE..end.div_ceil(SMALL_PAGE)).map(|n| n * SMALL_PAGE) {
                let page =
                    pages.entry(base).or_insert_with(|| Page { bytes: vec![0; page_size], write: false });
                page.write |= segment.write;
                let from = base.max(segment.address);
                let to = (base + SMALL_PAGE).min(segment.address + segment.data.len() as u64);
                if from < to {
                    let index = |value: u64| usize::try_from(value).unwrap_or_default();
                    let source = index(from - segment.address)..index(to - segment.address);
                    page.bytes[index(from - base)..index(to - base)].copy_from_slice(&segment.data[source]);
                }
            }
        }
        pages
    }
}
