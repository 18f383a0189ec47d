//! The virtual CPU by the kernel's VCPU object.

use crate::end_request::EndRequest;
use crate::regions::GuestRam;
use core::arch::x86_64::{__cpuid, CpuidResult};
use sel4_microkit::vcpu::{self, Completed, EntryState, Vcpu, VcpuRegisters};
use vmm_core::switched::Switched;
use vmm_core::{Entry, Field, Interruption, RawExit, Registers, Return};

/// `<vcpu id="0"/>` of system.xml.
const VCPU: Vcpu = Vcpu::new(0);

/// The virtual CPU and the guest's memory.
#[derive(Debug)]
pub struct MicrokitVcpu {
    ram: GuestRam,
    end_request: EndRequest,
    /// What the next entry sets the VMX-preemption timer to: it takes no system call of its own.
    #[cfg(not(stock_kernel))]
    timer: Option<u32>,
}

impl MicrokitVcpu {
    pub fn new(ram: GuestRam) -> Self {
        Self {
            ram,
            end_request: EndRequest::listen(),
            #[cfg(not(stock_kernel))]
            timer: None,
        }
    }
}

impl vmm_core::Vcpu for MicrokitVcpu {
    fn enter(&mut self, entry: &Entry) -> Return {
        if let Some(Registers(words)) = entry.registers {
            // The kernel refuses only a message that is too short.
            let written = VCPU.write_registers(&VcpuRegisters::from_words(words));
            assert!(written.is_ok(), "the kernel refuses the guest's registers: {written:?}");
        }
        let state = EntryState {
            rip: entry.rip,
            primary_controls: entry.primary_controls,
            interruption_info: u64::from(entry.injection.0),
            ..EntryState::default()
        };
        #[cfg(not(stock_kernel))]
        let state = EntryState { preemption_timer: self.timer.take(), ..state };
        let mut state = state;
        let completed = if entry.completed { Completed::Instruction } else { Completed::Nothing };
        let result = vcpu::enter(&mut state, completed);
        let injection = Interruption(low(state.interruption_info));
        // Only a valid event needs to be submitted again.
        let injection = if injection.is_valid() { injection } else { Interruption::NONE };
        match result {
            vcpu::Return::Exit(exit) => Return::Exit(RawExit {
                reason: low(exit.reason),
                qualification: exit.qualification,
                instruction_length: exit.instruction_length,
                guest_physical: exit.guest_physical,
                rip: state.rip,
                rflags: exit.rflags,
                interruptibility: low(exit.interruptibility),
                cr3: exit.cr3,
                injection,
                registers: Registers(exit.registers.to_words()),
            }),
            vcpu::Return::Notified(channels) => {
                let end = self.end_request.has_come(channels);
                Return::Notified { rip: state.rip, injection, end }
            }
        }
    }

    fn read(&mut self, field: Field) -> u64 {
        #[cfg(not(stock_kernel))]
        if let (Field::PreemptionTimer, Some(value)) = (field, self.timer) {
            return value.into();
        }
        match VCPU.read_vmcs(field as u32) {
            Ok(value) => value,
            Err(error) => panic!("the kernel refuses to read {field:?}: {error:?}"),
        }
    }

    fn write(&mut self, field: Field, value: u64) {
        #[cfg(not(stock_kernel))]
        if field == Field::PreemptionTimer {
            self.timer = Some(low(value));
            return;
        }
        if let Err(error) = VCPU.write_vmcs(field as u32, value) {
            panic!("the kernel refuses to write {field:?}: {error:?}");
        }
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        match register {
            Switched::Xcr0 => VCPU.write_xcr0(value),
            Switched::Cr2 => VCPU.write_cr2(value),
            msr => VCPU.write_msr(msr as u32, value),
        }
        .is_ok()
    }

    fn now(&self) -> u64 {
        now()
    }
}

impl vmm_core::Memory for MicrokitVcpu {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        self.ram.read(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.ram.write(address, bytes)
    }
}

/// The time-stamp counter, in cycles.
pub fn now() -> u64 {
    // SAFETY: RDTSC changes nothing, and seL4 leaves CR4.TSD clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The rate of the time-stamp counter in Hz, where the processor tells it (SDM vol. 2A, CPUID, leaves 15H and 16H).
pub fn tsc_hz() -> Option<u64> {
    const TIME_STAMP_COUNTER: u32 = 0x15;
    const FREQUENCIES: u32 = 0x16;
    if __cpuid(0).eax < TIME_STAMP_COUNTER {
        return None;
    }
    let CpuidResult { eax: denominator, ebx: numerator, ecx: crystal_hz, .. } = __cpuid(TIME_STAMP_COUNTER);
    let hz = (u64::from(crystal_hz) * u64::from(numerator)).checked_div(denominator.into())?;
    if hz != 0 || __cpuid(0).eax < FREQUENCIES {
        return Some(hz).filter(|hz| *hz != 0);
    }
    // Without the crystal's rate, the counter's is the base frequency.
    let [low, high, ..] = __cpuid(FREQUENCIES).eax.to_le_bytes();
    Some(u64::from(u16::from_le_bytes([low, high])) * 1_000_000).filter(|hz| *hz != 0 && numerator != 0)
}

/// Bits 31:0.
const fn low(word: u64) -> u32 {
    vmm_core::registers::low(word)
}
