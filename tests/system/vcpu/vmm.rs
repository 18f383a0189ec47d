//! A small virtual machine monitor: a 64-bit guest runs, exits and resumes with all registers intact; it reaches
//! a port with and without an exit; notifications end VM entry.

#![no_std]
#![no_main]

mod machine;
mod program;

use core::arch::x86_64::{__m128i, _mm_set1_epi64x};
use machine::{Ram, start_in_64_bit_mode};
use program::{Program, SCRATCH_PORT, SCRATCH_VALUE, VMCALL_BYTES, XMM_IN, XMM_OUT, program};
use sel4_microkit::ioport::IoPort;
use sel4_microkit::vcpu::{Completed, EntryState, Return, Vcpu, VcpuRegisters, VmExit, enter};
use sel4_microkit::{Channel, Error, Handler, Infallible, Never, debug_println, protection_domain};
use x86::vmx::vmcs::guest;

const VCPU: Vcpu = Vcpu::new(4);
const PORTS: IoPort = IoPort::new(2);
const TICKER: Channel = Channel::new(6);
const ROUNDS: u64 = 1000;
const NOTIFICATIONS: u64 = 20;

/// Primary controls: HLT exiting, secondary controls (SDM 25.6.2).
const PRIMARY_CONTROLS: u64 = 1 << 7 | 1 << 31;
/// Basic exit reasons (SDM appendix C).
const EXIT_VMCALL: u64 = 18;
const EXIT_IO: u64 = 30;
/// RFLAGS that a guest may have set while it uses registers: CF, PF, AF, ZF, SF, DF, OF; and the fixed bit 1.
const FLAGS: u64 = 0x0cd5;
const FIXED_FLAG: u64 = 2;

struct Vmm {
    ram: Ram,
    program: Program,
    state: EntryState,
    random: u64,
}

#[protection_domain]
fn init() -> Vmm {
    debug_println!("first line");
    let ram = Ram::new();
    let (code, program) = program();
    ram.map_identity();
    ram.load(code);
    start_in_64_bit_mode(VCPU).expect("the kernel takes every field of a 64-bit guest");
    let state = EntryState { rip: program.xmm, primary_controls: PRIMARY_CONTROLS, ..EntryState::default() };
    Vmm { ram, program, state, random: 1 }
}

impl Handler for Vmm {
    type Error = Infallible;

    fn run(&mut self) -> Result<Never, Infallible> {
        if let Err(error) = self.test() {
            panic!("the kernel refused an invocation: {error:?}");
        }
        debug_println!("vcpu: passed");
        loop {
            core::hint::spin_loop();
        }
    }
}

impl Vmm {
    fn test(&mut self) -> Result<(), Error> {
        self.vector_registers();
        self.general_registers()?;
        self.ports()?;
        self.notifications()
    }

    /// Runs the guest to its next exit, which must have this reason; RIP is then after the instruction.
    fn exit(&mut self, reason: u64) -> VmExit {
        let before = self.state;
        match enter(&mut self.state, Completed::Nothing) {
            Return::Exit(exit) => {
                assert_eq!(exit.reason, reason, "{exit:x?} from {before:x?} at {:x?}", self.state);
                self.state.rip += exit.instruction_length;
                exit
            }
            other => panic!("{other:?}"),
        }
    }

    fn vector_registers(&mut self) {
        let pattern: [u8; 256] = core::array::from_fn(|i| i.to_le_bytes()[0] ^ 0x3c);
        self.ram.write(XMM_IN, &pattern);
        self.exit(EXIT_VMCALL);
        use_vector_registers();
        self.exit(EXIT_VMCALL);
        assert_eq!(self.ram.read(XMM_OUT), pattern);
        debug_println!("vcpu: vector registers survive an exit");
    }

    fn general_registers(&mut self) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            assert_eq!(self.state.rip, self.program.registers);
            self.exit(EXIT_VMCALL);
            let words: [u64; VcpuRegisters::COUNT] = core::array::from_fn(|_| self.random());
            let (flags, stack) = (self.random() & FLAGS | FIXED_FLAG, self.random() >> 20);
            VCPU.write_registers(&VcpuRegisters::from_words(words))?;
            VCPU.write_vmcs(guest::RFLAGS, flags)?;
            VCPU.write_vmcs(guest::RSP, stack)?;
            let changed = self.exit(EXIT_VMCALL);
            assert_eq!(changed.registers.to_words(), words.map(|word| !word));
            assert_eq!((changed.rflags, VCPU.read_vmcs(guest::RSP)?), (flags, stack + 8));
            assert_eq!(changed.instruction_length, VMCALL_BYTES as u64);
            assert_eq!(changed.cr3, program::PML4 as u64);
            // The next exit is at the start again, and this monitor writes nothing before it.
            let kept = self.exit(EXIT_VMCALL);
            assert_eq!((kept.registers, kept.rflags), (changed.registers, flags));
            self.state.rip = self.program.registers;
        }
        VCPU.write_vmcs(guest::RFLAGS, FIXED_FLAG)?;
        debug_println!("vcpu: {ROUNDS} rounds with all registers intact");
        Ok(())
    }

    fn ports(&mut self) -> Result<(), Error> {
        // Another value than the guest's, to see its write.
        PORTS.out8(SCRATCH_PORT, !SCRATCH_VALUE)?;
        self.state.rip = self.program.port;
        let exit = self.exit(EXIT_IO);
        // SDM table 28-5: one byte, out, port in DX.
        assert_eq!(exit.qualification, u64::from(SCRATCH_PORT) << 16);
        self.exit(EXIT_VMCALL);
        assert_eq!(PORTS.in8(SCRATCH_PORT)?, !SCRATCH_VALUE);

        VCPU.enable_io_port(PORTS, SCRATCH_PORT, SCRATCH_PORT)?;
        self.state.rip = self.program.port;
        self.exit(EXIT_VMCALL);
        assert_eq!(PORTS.in8(SCRATCH_PORT)?, SCRATCH_VALUE);

        VCPU.disable_io_port(SCRATCH_PORT, SCRATCH_PORT)?;
        self.state.rip = self.program.port;
        self.exit(EXIT_IO);
        debug_println!("vcpu: ports exit and do not exit");
        Ok(())
    }

    fn notifications(&mut self) -> Result<(), Error> {
        let end = self.program.end;
        self.state.rip = self.program.count;
        VCPU.write_registers(&VcpuRegisters::default())?;
        let mut last = 0;
        for _ in 0..NOTIFICATIONS {
            TICKER.notify();
            let before = self.state;
            match enter(&mut self.state, Completed::Nothing) {
                Return::Notified(channels) => {
                    assert_eq!(channels.iter().map(|c| c.index()).sum::<usize>(), 6)
                }
                Return::Exit(exit) => panic!("{exit:x?} from {before:x?}"),
            }
            assert!((self.program.count..end).contains(&self.state.rip));
            // Looks at the guest's counter by an exit, then lets it go on where it was.
            let resume = self.state.rip;
            self.state.rip = end;
            let exit = self.exit(EXIT_VMCALL);
            assert!(exit.registers.rax > last, "the guest did not run");
            last = exit.registers.rax;
            self.state.rip = resume;
        }
        debug_println!("vcpu: {NOTIFICATIONS} notifications ended VM entry");
        Ok(())
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// Puts other values into all vector registers.
fn use_vector_registers() {
    // SAFETY: every x86-64 processor has SSE2.
    let ones: __m128i = unsafe { _mm_set1_epi64x(-1) };
    // SAFETY: the assembly only copies one register into the others.
    unsafe {
        core::arch::asm!("/* {0} */", in(xmm_reg) ones,
            inlateout("xmm1") ones => _, inlateout("xmm2") ones => _, inlateout("xmm3") ones => _,
            inlateout("xmm4") ones => _, inlateout("xmm5") ones => _, inlateout("xmm6") ones => _,
            inlateout("xmm7") ones => _, inlateout("xmm8") ones => _, inlateout("xmm9") ones => _,
            inlateout("xmm10") ones => _, inlateout("xmm11") ones => _, inlateout("xmm12") ones => _,
            inlateout("xmm13") ones => _, inlateout("xmm14") ones => _, inlateout("xmm15") ones => _);
    }
}
