//! Registers that VM entry and VM exit leave alone, and which the kernel switches for each guest if it can: those of
//! SYSCALL, IA32_TSC_AUX, XCR0. What the kernel does not take, the guest's processor does not have.

use crate::apic::GeneralProtection;
use crate::arch::{cr4, efer, msr, xcr0};
use crate::msr::is_canonical;
use crate::vcpu::Vcpu;

/// Such a register. The number is the MSR's, or XCR0's, or CR2's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Switched {
    /// XCR0.
    Xcr0 = 0,
    /// CR2.
    Cr2 = 2,
    /// IA32_STAR.
    Star = msr::STAR,
    /// IA32_LSTAR.
    Lstar = msr::LSTAR,
    /// IA32_FMASK.
    Fmask = msr::FMASK,
    /// IA32_TSC_AUX.
    TscAux = msr::TSC_AUX,
}

/// The registers that the guest has, and their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchedRegisters {
    syscall: bool,
    rdtscp: bool,
    cr2: bool,
    /// The bits that XCR0 may have; 0 without XSAVE.
    offered: u64,
    xcr0: u64,
    star: u64,
    lstar: u64,
    cstar: u64,
    fmask: u64,
    tsc_aux: u64,
}

/// Whether it is an MSR of these. IA32_CSTAR is one that no processor uses in the modes that the guest has.
pub const fn has(number: u32) -> bool {
    matches!(number, msr::STAR | msr::LSTAR | msr::CSTAR | msr::FMASK | msr::TSC_AUX)
}

impl SwitchedRegisters {
    /// A guest without them.
    pub const NONE: Self = Self {
        syscall: false,
        rdtscp: false,
        cr2: false,
        offered: 0,
        xcr0: xcr0::X87,
        star: 0,
        lstar: 0,
        cstar: 0,
        fmask: 0,
        tsc_aux: 0,
    };

    /// Asks the kernel which it takes, and sets them as after reset.
    pub fn of<V: Vcpu>(vcpu: &mut V) -> Self {
        let syscall = [Switched::Star, Switched::Lstar, Switched::Fmask]
            .into_iter()
            .all(|register| vcpu.set(register, 0));
        let rdtscp = vcpu.set(Switched::TscAux, 0);
        let cr2 = vcpu.set(Switched::Cr2, 0);
        let largest = [xcr0::X87 | xcr0::SSE | xcr0::AVX, xcr0::X87 | xcr0::SSE];
        let offered = largest.into_iter().find(|value| vcpu.set(Switched::Xcr0, *value)).unwrap_or(0);
        if offered != 0 {
            vcpu.set(Switched::Xcr0, xcr0::X87);
        }
        Self { syscall, rdtscp, cr2, offered, ..Self::NONE }
    }

    /// SYSCALL and its MSRs.
    pub const fn syscall(&self) -> bool {
        self.syscall
    }

    /// RDTSCP and IA32_TSC_AUX.
    pub const fn rdtscp(&self) -> bool {
        self.rdtscp
    }

    /// The bits that XCR0 may have; 0 without XSAVE.
    pub const fn offered(&self) -> u64 {
        self.offered
    }

    /// XCR0.
    pub const fn xcr0(&self) -> u64 {
        self.xcr0
    }

    /// The bundled kernel: one that takes CR2 also switches DR0 to DR3 and DR6, and takes an offset of the time-stamp counter.
    /// VM entry and exit switch DR7.
    pub const fn bundled(&self) -> bool {
        self.cr2
    }

    /// CR4 bits that the guest has with these.
    pub const fn cr4(&self) -> u64 {
        let xsave = if self.offered != 0 { cr4::OSXSAVE } else { 0 };
        xsave | if self.bundled() { cr4::DE } else { 0 }
    }

    /// IA32_EFER bits that the guest has with these.
    pub const fn efer(&self) -> u64 {
        if self.syscall { efer::SCE } else { 0 }
    }

    /// RDMSR of a register that [`has`] knows.
    ///
    /// # Errors
    /// The guest has none.
    pub const fn read(&self, number: u32) -> Result<u64, GeneralProtection> {
        match number {
            msr::TSC_AUX if self.rdtscp => Ok(self.tsc_aux),
            msr::STAR if self.syscall => Ok(self.star),
            msr::LSTAR if self.syscall => Ok(self.lstar),
            msr::CSTAR if self.syscall => Ok(self.cstar),
            msr::FMASK if self.syscall => Ok(self.fmask),
            _ => Err(GeneralProtection),
        }
    }

    /// WRMSR.
    ///
    /// # Errors
    /// The guest has none, or a bit is reserved (SDM vol. 4, table 2-2).
    pub fn write<V: Vcpu>(&mut self, vcpu: &mut V, number: u32, value: u64) -> Result<(), GeneralProtection> {
        self.read(number)?;
        let (register, good) = match number {
            msr::STAR => (Switched::Star, true),
            msr::LSTAR => (Switched::Lstar, is_canonical(value)),
            msr::FMASK => (Switched::Fmask, value >> 32 == 0),
            msr::TSC_AUX => (Switched::TscAux, value >> 32 == 0),
            _ if is_canonical(value) => {
                self.cstar = value;
                return Ok(());
            }
            _ => return Err(GeneralProtection),
        };
        if !good || !vcpu.set(register, value) {
            return Err(GeneralProtection);
        }
        match register {
            Switched::Star => self.star = value,
            Switched::Lstar => self.lstar = value,
            Switched::Fmask => self.fmask = value,
            Switched::TscAux => self.tsc_aux = value,
            Switched::Xcr0 | Switched::Cr2 => {}
        }
        Ok(())
    }

    /// XSETBV with this ECX and EDX:EAX (SDM vol. 2C, XSETBV; vol. 1, 13.3).
    ///
    /// # Errors
    /// Another register, or a value that XCR0 does not take.
    pub fn xsetbv<V: Vcpu>(
        &mut self,
        vcpu: &mut V,
        register: u32,
        value: u64,
    ) -> Result<(), GeneralProtection> {
        let avx_alone = value & (xcr0::SSE | xcr0::AVX) == xcr0::AVX;
        let good = register == 0 && value & !self.offered == 0 && value & xcr0::X87 != 0 && !avx_alone;
        if !good || !vcpu.set(Switched::Xcr0, value) {
            return Err(GeneralProtection);
        }
        self.xcr0 = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tests::double::Playback;

    const FAULT: Result<(), GeneralProtection> = Err(GeneralProtection);

    fn all() -> (Playback, SwitchedRegisters) {
        let mut vcpu = Playback { takes: |_, _| true, ..Playback::default() };
        let registers = SwitchedRegisters::of(&mut vcpu);
        (vcpu, registers)
    }

    #[test]
    fn what_the_kernel_does_not_take_the_guest_does_not_have() {
        let (mut vcpu, registers) = all();
        assert!(registers.syscall() && registers.rdtscp());
        assert_eq!((registers.offered(), registers.xcr0(), registers.efer()), (7, 1, 1));
        assert_eq!(vcpu.switched.last(), Some(&(Switched::Xcr0, 1)), "as after reset");
        vcpu.takes = |register, value| register == Switched::Xcr0 && value < 4;
        let mut less = SwitchedRegisters::of(&mut vcpu);
        assert!(!less.syscall() && !less.rdtscp());
        assert_eq!((less.offered(), less.efer()), (3, 0));
        for number in [msr::STAR, msr::LSTAR, msr::CSTAR, msr::FMASK, msr::TSC_AUX] {
            assert_eq!(less.read(number), Err(GeneralProtection));
            assert_eq!(less.write(&mut vcpu, number, 0), FAULT);
        }
        vcpu.takes = |_, _| false;
        assert_eq!(SwitchedRegisters::of(&mut vcpu).offered(), 0);
    }

    /// SDM vol. 4, table 2-2.
    #[test]
    fn values_are_kept_and_reserved_ones_fault() {
        let (mut vcpu, mut registers) = all();
        for (number, value) in
            [(msr::STAR, u64::MAX), (msr::LSTAR, 0xffff_8000_0000_0000), (msr::FMASK, 0x4_7700)]
        {
            assert_eq!(registers.write(&mut vcpu, number, value), Ok(()));
            assert_eq!(registers.read(number), Ok(value));
            assert_eq!(
                vcpu.switched.last().map(|(register, value)| (*register as u32, *value)),
                Some((number, value))
            );
        }
        assert_eq!((registers.write(&mut vcpu, msr::CSTAR, 5), registers.read(msr::CSTAR)), (Ok(()), Ok(5)));
        for (number, value) in
            [(msr::LSTAR, 1 << 47), (msr::CSTAR, 1 << 47), (msr::FMASK, 1 << 32), (msr::TSC_AUX, 1 << 32)]
        {
            assert_eq!(registers.write(&mut vcpu, number, value), FAULT, "{number:#x}");
        }
    }

    /// SDM vol. 2C, XSETBV.
    #[test]
    fn xcr0_takes_what_it_may_have() {
        let (mut vcpu, mut registers) = all();
        for value in [1, 3, 7] {
            assert_eq!(registers.xsetbv(&mut vcpu, 0, value), Ok(()));
            assert_eq!((registers.xcr0(), vcpu.switched.last()), (value, Some(&(Switched::Xcr0, value))));
        }
        for (register, value) in [(0, 0), (0, 2), (0, 5), (0, 8 | 7), (1, 7), (0, 1 << 63 | 7)] {
            assert_eq!(registers.xsetbv(&mut vcpu, register, value), FAULT, "XCR{register} {value:#x}");
        }
        assert_eq!(registers.xcr0(), 7);
    }
}
