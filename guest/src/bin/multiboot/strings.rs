//! OUTS and INS of memory that is not mapped: a page fault with its address and error code (SDM vol. 3A, 4.7), and once the
//! page is there the instruction goes on.

use crate::Checks;
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::interrupts::set;
use guest::multiboot::{Information, end_of_program, word_at, write_word};

/// Vector of page faults.
const PF: u8 = 14;
/// A linear address where this program has nothing: the last 2 MiB below 3 GiB. Its entry in the page directory, in
/// words of 8 bytes from that of address 0.
const UNUSED: u64 = 0xbfe0_0000;
const PAGE: u64 = 0x20_0000;
/// An entry: a writable page of 2 MiB that is there; and one that is not.
const PRESENT: u32 = 0x83;
const ABSENT: u32 = 0x82;
/// The line status of COM1 on this machine: it can always send. And the bytes that go out.
const LINE_STATUS: u16 = 0x3fd;
const READY: u64 = 0x60;
const TEXT: &[u8; 9] = b"@strings\n";
const COM1: u16 = 0x3f8;

static ENTRY: AtomicU64 = AtomicU64::new(0);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicU64 = AtomicU64::new(0);
static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Notes error code and CR2, and makes the page present.
#[unsafe(naked)]
unsafe extern "C" fn on_page_fault() {
    naked_asm!(
        "push rax",
        "inc qword ptr [rip + {faults}]",
        "mov rax, [rsp + 8]",
        "mov [rip + {code}], rax",
        "mov rax, cr2",
        "mov [rip + {address}], rax",
        "mov rax, [rip + {entry}]",
        "or dword ptr [rax], 1",
        "pop rax",
        "add rsp, 8",
        "iretq",
        faults = sym FAULTS,
        code = sym CODE,
        address = sym ADDRESS,
        entry = sym ENTRY,
    )
}

/// The page-directory entry of an address below 4 GiB, by the tables that `multiboot.s` has made.
fn entry_of(linear: u64) -> u64 {
    let pml4: u64;
    // SAFETY: reads CR3.
    unsafe { asm!("mov {}, cr3", out(reg) pml4, options(nomem, nostack)) };
    let table = |at: u64| u64::from(word_at(at)) & !0xfff;
    table(table(pml4) + 8 * (linear >> 30)) + 8 * (linear >> 21 & 0x1ff)
}

/// Makes the page absent.
fn remove(entry: u64, to: u32) {
    // SAFETY: the entry of a page that this program does not use.
    unsafe { write_word(entry, to | ABSENT) };
    // SAFETY: forgets what the processor knows of the page.
    unsafe { asm!("invlpg [{}]", in(reg) UNUSED, options(nostack)) };
}

fn faulted(checks: &mut Checks, what: &str, code: u64, address: u64) {
    checks.equal(what, FAULTS.swap(0, Relaxed), 1);
    checks.equal(what, CODE.load(Relaxed), code);
    checks.equal(what, ADDRESS.load(Relaxed), address);
}

pub fn check(checks: &mut Checks, _: &Information) {
    set(PF, on_page_fault);
    let entry = entry_of(UNUSED);
    let old = word_at(entry);
    ENTRY.store(entry, Relaxed);
    // The 2 MiB page that this program ends in, whose last bytes are free memory.
    let page = end_of_program() / PAGE * PAGE;
    let low = u32::try_from(page).unwrap_or(0);
    // A fault of the processor's own first, so that CR2 and the code are others.
    remove(entry, low);
    word_at(UNUSED + PAGE - 16);
    faulted(checks, "a-read", 0, UNUSED + PAGE - 16);
    let text = UNUSED + PAGE - TEXT.len() as u64;
    for (at, byte) in (text..).zip(TEXT) {
        let to: *mut u8 = core::ptr::with_exposed_provenance_mut(usize::try_from(at).unwrap_or(0));
        // SAFETY: the end of the page that this program ends in, which it does not reach.
        unsafe { to.write_volatile(*byte) };
    }
    remove(entry, low);
    let mut left = TEXT.len() as u64;
    // SAFETY: reads the text, and sends it.
    unsafe {
        asm!("rep outsb", inout("rcx") left, inout("rsi") text => _, in("dx") COM1, options(nostack));
    }
    checks.equal("outs-done", left, 0);
    faulted(checks, "outs", 0, text);

    remove(entry, low);
    // SAFETY: writes a byte of the text.
    unsafe { asm!("insb", inout("rdi") text => _, in("dx") LINE_STATUS, options(nostack)) };
    faulted(checks, "ins", 2, text);
    checks.equal("ins-done", u64::from(word_at(text & !3)) >> (8 * (text & 3)) & 0xff, READY);

    // The rest of memory is as it was.
    // SAFETY: the entry as `multiboot.s` has made it.
    unsafe { write_word(entry, old) };
    // SAFETY: as above.
    unsafe { asm!("invlpg [{}]", in(reg) UNUSED, options(nostack)) };
    checks.equal("entry-as-before", (old & PRESENT).into(), PRESENT.into());
}
