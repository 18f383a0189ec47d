//! Two pages within reach of Bochs's code: what its instrumentation stubs test, and the way on from them.
//!
//! The stubs that run for every instruction have room for 16 bytes. A test of a byte or a countdown and a
//! return fit, which keeps Bochs nearly as fast as it was; what they test must be within 2 GiB of them.

use crate::elf::Executable;
use crate::patch::{Address, replace_stub};
use crate::stop::stop;

const PAGE: usize = 4096;
/// How far below the executable the pages may be.
const REACH: usize = 1 << 30;
const STEP: usize = 1 << 16;
const WAY_SIZE: usize = 16;

/// What the stubs test.
#[repr(C)]
pub struct Watch {
    /// `after_execution` is called when this is 0, else it is decremented.
    pub countdown: i32,
    /// `before_execution` is called.
    pub boundary: bool,
    /// Branches are reported.
    pub branches: bool,
    /// Data accesses are reported.
    pub accesses: bool,
}

/// When a stub goes on to its hook.
#[derive(Clone, Copy)]
pub enum When {
    /// Always.
    Always,
    /// When [`Watch::countdown`] has run out.
    CountedDown,
    /// When [`Watch::boundary`] is set.
    Boundary,
    /// When [`Watch::branches`] is set.
    Branches,
    /// When [`Watch::accesses`] is set.
    Accesses,
}

/// The two pages: first the [`Watch`], then code.
pub struct Near {
    watch: *mut Watch,
    ways: usize,
}

impl Near {
    /// Maps the pages. All is zero at first: `after_execution` is called for the first instruction.
    pub fn map(executable: &Executable) -> Self {
        let mut at = executable.base & !(STEP - 1);
        let end = at.saturating_sub(REACH);
        while at > end + STEP {
            at -= STEP;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: MAP_FIXED_NOREPLACE maps fresh pages or fails; nothing that exists changes.
            let mapped = unsafe { libc::mmap(at as *mut _, 2 * PAGE, protection, flags, -1, 0) };
            if mapped as usize == at {
                return Self { watch: mapped.cast(), ways: 0 };
            }
        }
        stop("no free page within 1 GiB below bochs-bin")
    }

    /// Makes an empty instrumentation stub of Bochs go on to `hook`.
    pub fn hook(&mut self, name: &str, when: When, hook: *const ()) {
        let way = self.watch as usize + PAGE + self.ways * WAY_SIZE;
        self.ways += 1;
        // jmp [rip + 0], followed by the address
        let mut code = [0xFF, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        code[6..].copy_from_slice(&(hook as Address).to_le_bytes());
        // SAFETY: the second page is mapped, writable, and has room for 256 of these.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), way as *mut u8, code.len()) };
        replace_stub(name, |stub| {
            let mut code = [0xCC; 14];
            match self.tested(when) {
                None => {
                    // jmp way
                    code[0] = 0xE9;
                    code[1..5].copy_from_slice(&displacement(stub + 5, way));
                }
                Some((countdown, address)) if countdown => {
                    // dec dword [address]; js way; ret
                    code[..2].copy_from_slice(&[0xFF, 0x0D]);
                    code[2..6].copy_from_slice(&displacement(stub + 6, address));
                    code[6..8].copy_from_slice(&[0x0F, 0x88]);
                    code[8..12].copy_from_slice(&displacement(stub + 12, way));
                    code[12] = 0xC3;
                }
                Some((_, address)) => {
                    // cmp byte [address], 0; jne way; ret
                    code[..2].copy_from_slice(&[0x80, 0x3D]);
                    code[2..6].copy_from_slice(&displacement(stub + 7, address));
                    code[6..9].copy_from_slice(&[0, 0x0F, 0x85]);
                    code[9..13].copy_from_slice(&displacement(stub + 13, way));
                    code[13] = 0xC3;
                }
            }
            code
        });
    }

    /// Whether `when` is a countdown, and where it is.
    fn tested(&self, when: When) -> Option<(bool, Address)> {
        let at = |offset: usize| self.watch as usize + offset;
        match when {
            When::Always => None,
            When::CountedDown => Some((true, at(std::mem::offset_of!(Watch, countdown)))),
            When::Boundary => Some((false, at(std::mem::offset_of!(Watch, boundary)))),
            When::Branches => Some((false, at(std::mem::offset_of!(Watch, branches)))),
            When::Accesses => Some((false, at(std::mem::offset_of!(Watch, accesses)))),
        }
    }

    /// Makes the second page executable; no hook can be added afterwards.
    pub fn seal(self) -> *mut Watch {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the second page of the mapping, which nothing writes any more.
        let result = unsafe { libc::mprotect(self.watch.cast::<u8>().add(PAGE).cast(), PAGE, protection) };
        if result != 0 {
            stop(format!("a page cannot be made executable: {}", std::io::Error::last_os_error()));
        }
        self.watch
    }
}

/// The displacement from the end of an instruction to its operand.
fn displacement(from: Address, to: Address) -> [u8; 4] {
    let distance = i64::try_from(to).unwrap_or(0) - i64::try_from(from).unwrap_or(0);
    match i32::try_from(distance) {
        Ok(distance) => distance.to_le_bytes(),
        Err(_) => stop(format!("{to:#x} is out of reach of {from:#x}")),
    }
}
