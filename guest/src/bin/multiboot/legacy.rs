//! Interrupts of a PC: the timer and the clock by the 8259A pair and by the I/O APIC, COM1 by the I/O APIC.

use crate::Checks;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::cpu::{inb, outb, wait_for_interrupt};
use guest::interrupts::set;
use guest::multiboot::{Information, word_at, write_word};

/// 8259A pair (data sheet 231468): command and data ports.
const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
const VECTORS: u8 = 0x20;
/// ICW1: four words, edges. ICW4: 8086 mode. OCW2: end of interrupt.
const ICW1: u8 = 0x11;
const ICW4: u8 = 1;
const EOI: u8 = 0x20;
/// 8254 (data sheet 231164): counter 0, both bytes, mode 2.
const TIMER: u16 = 0x40;
const TIMER_CONTROL: u16 = 0x43;
const RATE_GENERATOR: u8 = 0x34;
/// Counts of 1.193 MHz between two interrupts: about a millisecond.
const COUNT: u16 = 1193;
/// I/O APIC (data sheet 290566): register select and window; the timer's and COM1's pins.
const IOAPIC: u64 = 0xfec0_0000;
const REDIRECTION: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const TIMER_PIN: u32 = 2;
const COM1_PIN: u32 = 4;
const CLOCK_PIN: u32 = 8;
const TIMER_VECTOR: u8 = 0x50;
const COM1_VECTOR: u8 = 0x51;
const CLOCK_VECTOR: u8 = 0x52;
/// MC146818A: registers A, B and C; 32,768 Hz and 1024 interrupts a second; periodic interrupts, 24 hours; periodic flag.
const CLOCK_INDEX: u16 = 0x70;
const CLOCK_DATA: u16 = 0x71;
const CLOCK_A: u8 = 10;
const CLOCK_B: u8 = 11;
const CLOCK_C: u8 = 12;
const RATE: u8 = 0x26;
const PERIODIC: u8 = 1 << 6;
const HOURS_24: u8 = 1 << 1;
/// Local APIC in memory: end of interrupt, spurious-interrupt vector, LINT0 (SDM vol. 3A, table 11-1).
const APIC_EOI: u64 = 0xfee0_00b0;
const APIC_SVR: u64 = 0xfee0_00f0;
const APIC_LINT0: u64 = 0xfee0_0350;
const EXTERNAL: u32 = 7 << 8;
/// 16550 (data sheet of the PC16550D): interrupt enable, modem control with OUT2, which lets interrupts out.
const COM1_IER: u16 = 0x3f9;
const COM1_IIR: u16 = 0x3fa;
const COM1_MCR: u16 = 0x3fc;
const TRANSMITTER_EMPTY: u8 = 2;
const OUT2: u8 = 8;
/// Interrupts to wait for.
const ENOUGH: u64 = 3;

static BY_PIC: AtomicU64 = AtomicU64::new(0);
static BY_IOAPIC: AtomicU64 = AtomicU64::new(0);
static BY_COM1: AtomicU64 = AtomicU64::new(0);
static CLOCK_BY_PIC: AtomicU64 = AtomicU64::new(0);
static CLOCK_BY_IOAPIC: AtomicU64 = AtomicU64::new(0);

guest::handler!(on_pic, pic);
guest::handler!(on_ioapic, ioapic);
guest::handler!(on_com1, com1);
guest::handler!(on_clock_by_pic, clock_by_pic);
guest::handler!(on_clock_by_ioapic, clock_by_ioapic);

extern "C" fn pic() {
    BY_PIC.fetch_add(1, Relaxed);
    outb(MASTER, EOI);
}

extern "C" fn ioapic() {
    BY_IOAPIC.fetch_add(1, Relaxed);
    end_of_interrupt();
}

extern "C" fn com1() {
    // Reading it takes the request back.
    BY_COM1.fetch_add(u64::from(inb(COM1_IIR) & 0xf == TRANSMITTER_EMPTY), Relaxed);
    end_of_interrupt();
}

/// Reading register C lets the next interrupt come; 1 if it was the periodic one.
fn clock_flag() -> u64 {
    outb(CLOCK_INDEX, CLOCK_C);
    u64::from(inb(CLOCK_DATA) & PERIODIC != 0)
}

extern "C" fn clock_by_pic() {
    CLOCK_BY_PIC.fetch_add(clock_flag(), Relaxed);
    outb(SLAVE, EOI);
    outb(MASTER, EOI);
}

extern "C" fn clock_by_ioapic() {
    CLOCK_BY_IOAPIC.fetch_add(clock_flag(), Relaxed);
    end_of_interrupt();
}

fn set_clock(register: u8, value: u8) {
    outb(CLOCK_INDEX, register);
    outb(CLOCK_DATA, value);
}

fn apic(register: u64, value: u32) {
    // SAFETY: a register of the local APIC, which writes no memory.
    unsafe { write_word(register, value) }
}

fn end_of_interrupt() {
    apic(APIC_EOI, 0);
}

fn route(pin: u32, low: u32) {
    for (register, value) in [(REDIRECTION + 2 * pin + 1, 0), (REDIRECTION + 2 * pin, low)] {
        // SAFETY: a register of the I/O APIC, which writes no memory.
        unsafe { write_word(IOAPIC, register) };
        // SAFETY: as above.
        unsafe { write_word(IOAPIC + 0x10, value) };
    }
}

fn masks(master: u8, slave: u8) {
    outb(MASTER + 1, master);
    outb(SLAVE + 1, slave);
}

pub fn check(checks: &mut Checks, _: &Information) {
    set(VECTORS, on_pic);
    set(TIMER_VECTOR, on_ioapic);
    set(COM1_VECTOR, on_com1);
    apic(APIC_SVR, 0x1ff);
    apic(APIC_LINT0, EXTERNAL);
    for (port, vectors, cascade) in [(MASTER, VECTORS, 1 << 2), (SLAVE, VECTORS + 8, 2)] {
        outb(port, ICW1);
        outb(port + 1, vectors);
        outb(port + 1, cascade);
        outb(port + 1, ICW4);
    }
    masks(!1, 0xff);
    outb(TIMER_CONTROL, RATE_GENERATOR);
    COUNT.to_le_bytes().iter().for_each(|byte| outb(TIMER, *byte));
    while BY_PIC.load(Relaxed) < ENOUGH {
        wait_for_interrupt();
    }
    checks.is("timer-by-8259a", BY_PIC.load(Relaxed) >= ENOUGH);
    // The clock is at input 0 of the slave, which is at input 2 of the master.
    masks(!(1 << 2), !1);
    set(VECTORS + 8, on_clock_by_pic);
    set(CLOCK_VECTOR, on_clock_by_ioapic);
    set_clock(CLOCK_A, RATE);
    set_clock(CLOCK_B, PERIODIC | HOURS_24);
    while CLOCK_BY_PIC.load(Relaxed) < ENOUGH {
        wait_for_interrupt();
    }
    checks.is("clock-by-8259a", CLOCK_BY_PIC.load(Relaxed) >= ENOUGH);
    masks(0xff, 0xff);
    route(CLOCK_PIN, CLOCK_VECTOR.into());
    // An edge on a masked pin is lost (82093AA data sheet, 3.2.4): the line must fall once more now.
    clock_flag();
    while CLOCK_BY_IOAPIC.load(Relaxed) < ENOUGH {
        wait_for_interrupt();
    }
    checks.is("clock-by-io-apic", CLOCK_BY_IOAPIC.load(Relaxed) >= ENOUGH);
    route(CLOCK_PIN, MASKED);
    set_clock(CLOCK_B, HOURS_24);
    apic(APIC_LINT0, EXTERNAL | MASKED);

    route(TIMER_PIN, TIMER_VECTOR.into());
    while BY_IOAPIC.load(Relaxed) < ENOUGH {
        wait_for_interrupt();
    }
    route(TIMER_PIN, MASKED);
    let masked = BY_PIC.load(Relaxed);

    route(COM1_PIN, COM1_VECTOR.into());
    outb(COM1_MCR, OUT2);
    outb(COM1_IER, TRANSMITTER_EMPTY);
    while BY_COM1.load(Relaxed) == 0 {
        wait_for_interrupt();
    }
    outb(COM1_IER, 0);
    route(COM1_PIN, MASKED);
    checks.equal("one-by-com1", BY_COM1.load(Relaxed), 1);
    checks.is("timer-by-io-apic", BY_IOAPIC.load(Relaxed) >= ENOUGH);
    checks.equal("masked-8259a-is-quiet", BY_PIC.load(Relaxed), masked);
    checks.is("register-select-reads-back", {
        route(0, MASKED);
        word_at(IOAPIC) == REDIRECTION
    });
}
