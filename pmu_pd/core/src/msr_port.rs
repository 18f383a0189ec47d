//! The port on a kernel without the PMU extension, by system calls that read and write MSRs of the processor itself.
//!
//! Such a kernel keeps IA32_PERF_GLOBAL_CTRL 0 outside the guest, so that whatever is programmed here counts nothing
//! else; VM entry loads the guest's value, which the VMM puts into the VMCS. A #GP(0) in a system call halts that kernel:
//! only MSRs that the processor has are named, and only values that it takes are written (`Limits`). There is no context
//! to switch: one VM has the registers, for good.

use crate::arch::{
    GENERAL_LEN, IA32_A_PMC0, IA32_FIXED_CTR_CTRL, IA32_FIXED_CTR0, IA32_PERF_CAPABILITIES,
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_STATUS, IA32_PERF_GLOBAL_STATUS_RESET,
    IA32_PERF_GLOBAL_STATUS_SET, IA32_PERFEVTSEL0, MAX_FIXED, MAX_GENERAL, capabilities, fixed_control,
    leaf_a, selector,
};
use crate::geometry::{Hardware, Wanted};
use crate::port::{KernelMode, PmuPort, PortError, RawGeometry};

/// The processor's MSRs.
pub trait Msrs {
    /// RDMSR of an MSR that the processor has.
    ///
    /// # Errors
    /// [`PortError`] if the kernel has no such call.
    fn read(&mut self, msr: u32) -> Result<u64, PortError>;

    /// WRMSR of a value that the processor takes.
    ///
    /// # Errors
    /// [`PortError`] if the kernel has no such call.
    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError>;
}

/// What CPUID says of the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpuid {
    /// Leaf 1, ECX.
    pub leaf_1_ecx: u32,
    /// Leaf 0xA, EAX, EBX, ECX, EDX; 0 without such a leaf.
    pub leaf_a: [u32; 4],
}

/// CPUID leaf 1 ECX: VMX (volume 2A, CPUID).
const VMX: u32 = 1 << 5;
/// CPUID leaf 1 ECX: IA32_PERF_CAPABILITIES exists.
const PDCM: u32 = 1 << 15;
/// IA32_VMX_EXIT_CTLS and IA32_VMX_ENTRY_CTLS (volume 3D, A.4 and A.5): bits 63:32 may be 1 in the control.
const IA32_VMX_EXIT_CTLS: u32 = 0x483;
const IA32_VMX_ENTRY_CTLS: u32 = 0x484;
/// VM exits load IA32_PERF_GLOBAL_CTRL (volume 3C, table 25-13).
const EXIT_LOADS_GLOBAL_CONTROL: u64 = 1 << (32 + 12);
/// VM entries load IA32_PERF_GLOBAL_CTRL (volume 3C, table 25-15).
const ENTRY_LOADS_GLOBAL_CONTROL: u64 = 1 << (32 + 13);
/// IA32_PERF_CAPABILITIES: PERF_METRICS_AVAILABLE (20.3.9.3).
const PERF_METRICS: u64 = 1 << 15;

/// What the registers of this processor take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    general: u32,
    fixed: u8,
    width: u64,
    fixed_width: u64,
    fixed_control: u64,
    counters: u64,
}

/// Selector bits that are written: 63:32 and AnyThread are not every processor's, pin control has no effect (20.2.1.1).
const SELECTOR: u64 = 0xFFFF_FFFF & !selector::ANY_THREAD & !selector::PIN_CONTROL;

impl Limits {
    fn new(raw: &RawGeometry) -> Option<Self> {
        let hardware = Hardware::new(raw).ok()?;
        let whole = hardware.geometry(Wanted::default()).ok()?;
        let fixed = hardware.fixed_counters();
        let fields = (0..u32::from(MAX_FIXED)).filter(|i| fixed >> i & 1 != 0);
        Some(Self {
            general: hardware.general_counters(),
            fixed,
            width: whole.width_mask(),
            fixed_width: whole.fixed_width_mask(),
            fixed_control: fields
                .map(|i| fixed_control::ALLOWED << (i * fixed_control::FIELD_BITS))
                .fold(0, |mask, field| mask | field),
            counters: whole.counter_bits(),
        })
    }

    /// The bits that `msr` takes; `None` for what is not written here.
    fn of(&self, msr: u32) -> Option<u64> {
        match msr {
            _ if msr.wrapping_sub(IA32_PERFEVTSEL0) < self.general => Some(SELECTOR),
            _ if msr.wrapping_sub(IA32_A_PMC0) < self.general => Some(self.width),
            _ if self.has_fixed(msr.wrapping_sub(IA32_FIXED_CTR0)) => Some(self.fixed_width),
            IA32_FIXED_CTR_CTRL => Some(self.fixed_control),
            IA32_PERF_GLOBAL_STATUS | IA32_PERF_GLOBAL_CTRL => Some(self.counters),
            _ => None,
        }
    }

    const fn has_fixed(&self, index: u32) -> bool {
        index < MAX_FIXED as u32 && self.fixed >> index & 1 != 0
    }
}

/// The port of the one VM that has the PMU, or that of a VM in mode off.
#[derive(Debug)]
pub struct MsrPort<M> {
    /// `None` in mode off.
    msrs: Option<M>,
    cpuid: Cpuid,
    limits: Option<Limits>,
    mode: KernelMode,
    selectors: [u64; GENERAL_LEN],
    fixed_control: u64,
    /// What the VMM is to put into the VMCS.
    global_control: u64,
}

impl<M: Msrs> MsrPort<M> {
    /// The port by `msrs` on the processor that `cpuid` describes; without `msrs` the only mode is off.
    pub const fn new(msrs: Option<M>, cpuid: Cpuid) -> Self {
        Self {
            msrs,
            cpuid,
            limits: None,
            mode: KernelMode::Off,
            selectors: [0; GENERAL_LEN],
            fixed_control: 0,
            global_control: 0,
        }
    }

    /// The processor's MSRs.
    pub const fn msrs(&mut self) -> Option<&mut M> {
        self.msrs.as_mut()
    }

    fn known(&mut self) -> Result<(&mut M, Limits), PortError> {
        match (&mut self.msrs, self.limits) {
            (Some(msrs), Some(limits)) => Ok((msrs, limits)),
            _ => Err(PortError::ILLEGAL_OPERATION),
        }
    }

    /// Whether the machine can be given to a guest: version 4 or 5 with full-width writes, as with the extension, and
    /// a VMCS that switches IA32_PERF_GLOBAL_CTRL.
    fn usable(msrs: &mut M, cpuid: &Cpuid, perf_capabilities: u64) -> Result<bool, PortError> {
        let [version, ..] = cpuid.leaf_a[0].to_le_bytes();
        if !matches!(version, leaf_a::STATUS_SET_VERSION..=crate::arch::MAX_VERSION)
            || perf_capabilities & capabilities::FW_WRITES == 0
            || cpuid.leaf_1_ecx & VMX == 0
        {
            return Ok(false);
        }
        Ok(msrs.read(IA32_VMX_EXIT_CTLS)? & EXIT_LOADS_GLOBAL_CONTROL != 0
            && msrs.read(IA32_VMX_ENTRY_CTLS)? & ENTRY_LOADS_GLOBAL_CONTROL != 0)
    }
}

impl<M: Msrs> PmuPort for MsrPort<M> {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let mut raw = RawGeometry {
            leaf_a: self.cpuid.leaf_a,
            perf_capabilities: 0,
            flags: RawGeometry::WITHOUT_EXTENSION,
        };
        let Some(msrs) = &mut self.msrs else { return Ok(raw) };
        if self.cpuid.leaf_1_ecx & PDCM != 0 {
            raw.perf_capabilities = msrs.read(IA32_PERF_CAPABILITIES)?;
        }
        if Self::usable(msrs, &self.cpuid, raw.perf_capabilities)? {
            raw.flags |= RawGeometry::USABLE;
        }
        // RDPMC 0x2000_0000 would read MSR_PERF_METRICS.
        if raw.perf_capabilities & PERF_METRICS == 0 {
            raw.flags |= RawGeometry::SAVES_GLOBAL_CONTROL;
        }
        self.limits = Limits::new(&raw);
        Ok(raw)
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        let counts = match mode {
            KernelMode::Off => false,
            KernelMode::Trapped | KernelMode::Direct => true,
            KernelMode::Raw => return Err(PortError::ILLEGAL_OPERATION),
        };
        let (selectors, fixed) =
            if counts { (self.selectors, self.fixed_control) } else { ([0; GENERAL_LEN], 0) };
        match self.known() {
            Ok((msrs, limits)) => {
                // Zero already, unless no guest has run yet (volume 3A, table 10-1).
                msrs.write(IA32_PERF_GLOBAL_CTRL, 0)?;
                for (i, selector) in (0..limits.general).zip(selectors) {
                    msrs.write(IA32_PERFEVTSEL0 + i, selector)?;
                }
                msrs.write(IA32_FIXED_CTR_CTRL, fixed)?;
            }
            Err(error) if counts => return Err(error),
            Err(_) => {}
        }
        self.mode = mode;
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        let global_control = self.global_control;
        let (selectors, fixed) = (self.selectors, self.fixed_control);
        let (msrs, limits) = self.known()?;
        let bits = limits.of(msr).ok_or(PortError::INVALID_ARGUMENT)?;
        let selector = selectors.get(msr.wrapping_sub(IA32_PERFEVTSEL0) as usize);
        match (msr, selector) {
            (_, Some(selector)) => Ok(*selector),
            (IA32_FIXED_CTR_CTRL, _) => Ok(fixed),
            (IA32_PERF_GLOBAL_CTRL, _) => Ok(global_control),
            _ => Ok(msrs.read(msr)? & bits),
        }
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let counts = self.mode != KernelMode::Off;
        let (msrs, limits) = self.known()?;
        let bits = limits.of(msr).ok_or(PortError::INVALID_ARGUMENT)?;
        let selector = msr.wrapping_sub(IA32_PERFEVTSEL0);
        let value = if selector < limits.general { value & !selector::PIN_CONTROL } else { value };
        if value & !bits != 0 {
            return Err(PortError::INVALID_ARGUMENT);
        }
        match msr {
            _ if selector < limits.general => {
                if counts {
                    msrs.write(msr, value)?;
                }
                if let Some(kept) = self.selectors.get_mut(selector as usize) {
                    *kept = value;
                }
            }
            IA32_FIXED_CTR_CTRL => {
                if counts {
                    msrs.write(msr, value)?;
                }
                self.fixed_control = value;
            }
            IA32_PERF_GLOBAL_CTRL => self.global_control = value,
            // The status itself is read-only: these are reset, those set (20.2.4.2).
            IA32_PERF_GLOBAL_STATUS => {
                let old = msrs.read(msr)? & bits;
                for (register, bits) in [
                    (IA32_PERF_GLOBAL_STATUS_RESET, old & !value),
                    (IA32_PERF_GLOBAL_STATUS_SET, value & !old),
                ] {
                    if bits != 0 {
                        msrs.write(register, bits)?;
                    }
                }
            }
            _ => msrs.write(msr, value)?,
        }
        Ok(())
    }
}

const _: () = assert!(MAX_GENERAL as usize == GENERAL_LEN);
