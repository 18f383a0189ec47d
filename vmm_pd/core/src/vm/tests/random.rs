//! Whatever a guest does, it gets an outcome: no panic, no loop without end, no memory but its own.

use super::double::*;
use crate::registers::{REGISTERS, Registers};
use crate::vm::Outcome;
use crate::{Field, Interruption, RawExit, Return, boot};
use std::collections::HashMap;

/// xorshift64* (Marsaglia; Vigna): the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        let i = usize::try_from(self.next() >> 33).expect("31 bits") % choices.len();
        choices[i]
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.next() >> 20 & u64::MAX >> 20 < (u64::MAX >> 20) / one_in
    }

    /// A number of few bits, of many, or near the ends.
    fn word(&mut self) -> u64 {
        let shift = self.next() % 64;
        let value = self.next() >> shift;
        if self.chance(4) { !value } else { value }
    }
}

const MEMORY: usize = 0x4_0000;
/// Ports with a device, and some without.
const PORTS: &[u64] = &[
    0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x3f8, 0x3f9, 0x3fa,
    0x3fb, 0x3fc, 0x3fd, 0x510, 0x511, 0x600, 0x604, 0x608, 0x60a, 0xcf8, 0xcfc, 0x64, 0x1234, 0xfffe,
];
const MSRS: &[u64] = &[
    0x10,
    0x1b,
    0x8b,
    0x186,
    0xc1,
    0x1a0,
    0x1d9,
    0x277,
    0x38d,
    0x38f,
    0x6e0,
    0x802,
    0x808,
    0x80b,
    0x80f,
    0x828,
    0x830,
    0x832,
    0x834,
    0x835,
    0x838,
    0x83e,
    0x83f,
    0xc000_0080,
    0xc000_0100,
];
const PAGES: &[u64] =
    &[0xfee0_0000, 0xfee0_0080, 0xfee0_00b0, 0xfee0_00f0, 0xfee0_0300, 0xfee0_0320, 0xfee0_0380];
/// Instructions that device registers are reached by, 8 bytes apart.
const CODE: &[[u8; 8]] = &[
    [0x89, 0x07, 0, 0, 0, 0, 0, 0],
    [0x8b, 0x07, 0, 0, 0, 0, 0, 0],
    [0xc7, 0x07, 0x45, 0x03, 0, 0, 0, 0],
    [0xc7, 0x07, 0xff, 0x01, 0, 0, 0, 0],
    [0x0f, 0xb6, 0x07, 0, 0, 0, 0, 0],
    [0x81, 0x0f, 0, 0x01, 0, 0, 0, 0],
    [0xf3, 0xab, 0, 0, 0, 0, 0, 0],
    [0x87, 0x17, 0, 0, 0, 0, 0, 0],
];
const CODE_START: usize = 0x1_0000;

fn exit(random: &mut Random) -> RawExit {
    let mut registers = Registers([0; REGISTERS]);
    registers.0.fill_with(|| random.word());
    let reason = if random.chance(500) {
        crate::registers::low(random.word())
    } else {
        random.of(&[1, 7, 8, 10, 28, 29, 30, 30, 30, 31, 31, 32, 32, 32, 48, 48, 48, 52, 54])
    };
    let mut exit = RawExit {
        reason,
        qualification: random.word(),
        instruction_length: random.next() % 16,
        guest_physical: random.word(),
        rip: if random.chance(100) { random.word() } else { 0x1_0000 + random.next() % 0x6000 * 8 },
        rflags: random.of(&[2, 0x202, 0x202, 0x602, 0x302]),
        interruptibility: random.of(&[0, 0, 0, 1, 2, 8]),
        cr3: if random.chance(500) { random.word() } else { 0x1000 },
        injection: Interruption::NONE,
        registers,
    };
    if random.chance(100) {
        exit.reason = 12;
        exit.rflags = 0x202;
    }
    let value = random.next();
    let registers = &mut exit.registers;
    match exit.reason {
        28 if !random.chance(20) => {
            exit.qualification = random.of(&[8, 8, 0, 4, 0x18, 0x20, 0x30]) | value & 0xf00
        }
        29 => exit.qualification = value & 0x317,
        30 => {
            exit.qualification = random.of(PORTS) << 16
                | random.of(&[0, 1, 3])
                | value & if random.chance(20) { 0x38 } else { 8 }
        }
        31 | 32 => {
            registers.set(crate::registers::Gpr::Rcx, random.of(MSRS));
            registers
                .set(crate::registers::Gpr::Rax, if random.chance(2) { value & 0x1_07ff } else { value });
            if random.chance(2) {
                registers.set(crate::registers::Gpr::Rdx, 0);
            }
        }
        48 => {
            exit.guest_physical = random.of(PAGES) + if random.chance(50) { value & 0xfff } else { 0 };
            if random.chance(2) {
                exit.guest_physical = 0xfec0_0000 + random.of(&[0, 0, 0x10]);
            }
            exit.qualification = 0x180 | value & if random.chance(50) { 7 } else { 3 };
        }
        _ => {}
    }
    exit
}

/// 300 guests of up to 400 exits each: page tables, code and VMCS fields are random too.
#[test]
fn a_guest_that_does_anything_gets_an_outcome() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut outcomes, mut interrupts, mut stops) = (HashMap::new(), 0, HashMap::new());
    let mut exits = 0;
    let mut start = vec![0; MEMORY];
    boot::write_tables(&mut start);
    for slot in start[CODE_START..].chunks_mut(8) {
        slot.copy_from_slice(&random.of(CODE));
        if random.chance(50) {
            slot[0] = random.next().to_le_bytes()[0];
        }
    }
    for round in 0..300 {
        let mut memory = start.clone();
        if round % 4 == 3 {
            // Page tables that lead anywhere.
            for _ in 0..64 {
                let at = usize::try_from(0x1000 + random.next() % 0x5ff8).expect("small");
                memory[at..at + 8].copy_from_slice(&random.word().to_le_bytes());
            }
        }
        let fields = [
            (Field::ExitInstructionInformation as u32, random.next()),
            (
                Field::GuestLinearAddress as u32,
                if round % 2 == 0 { random.next() % 0x5_0000 } else { random.word() },
            ),
            (Field::ExitInterruptionInformation as u32, random.next() & 0xffff_ffff),
        ];
        let returns = (0..400).map(|_| Return::Exit(exit(&mut random))).collect();
        let (ran, memory) = run_machine(usual, returns, memory, fields.into());
        assert_eq!(memory.len(), MEMORY);
        exits += ran.seen.outcomes.len();
        interrupts += ran.entries.iter().filter(|entry| entry.injection.is_valid()).count();
        for outcome in &ran.seen.outcomes {
            *outcomes.entry(kind(outcome)).or_insert(0) += 1;
        }
        *stops.entry(core::mem::discriminant(&ran.stop)).or_insert(0) += 1;
        // The report of any guest can be printed.
        assert!(ran.vm.report(ran.stop).to_string().contains("@stop code="));
    }
    assert!(exits > 10_000, "{exits} exits");
    assert!(interrupts > 500, "{interrupts} injections");
    assert!(outcomes.len() == 5 && outcomes.values().all(|count| *count > 20), "{outcomes:?}");
    assert!(stops.len() > 5, "{} kinds of end", stops.len());
}

const fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed(_) => "completed",
        Outcome::Halted(_) => "halted",
        Outcome::Again | Outcome::Iterated => "again",
        Outcome::Fault(_) | Outcome::Trap(..) => "fault",
        Outcome::Stop(_) => "stop",
    }
}
