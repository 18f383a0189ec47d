//! [`Vpmu::write`]: a WRMSR to one register.
//!
//! The caller owns the memory: a table, a [`Setup`], a [`Port`], and room for the vPMU.

use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU64;
use pmu_api::Mode;
use pmu_core::policy::VmPolicy;
use pmu_core::shadow::TABLE_WORDS;
use pmu_core::vpmu::{Trouble, Vpmu, Written};
use pmu_core::{Approval, Filter, GuestControl, KernelMode, PmuPort, PortError, RawGeometry, Wanted};

/// The hardware, and what the policy says about its guest.
#[repr(C)]
#[derive(Debug)]
pub struct Setup {
    /// CPUID leaf 0xA.
    leaf_a: [u32; 4],
    /// IA32_PERF_CAPABILITIES.
    perf_capabilities: u64,
    /// The guest's PMU version.
    version: u64,
    /// Whether the guest has TSX: 0 or 1.
    tsx: u64,
    /// Bitmap of the fixed counters that may count.
    fixed_permitted: u64,
}

/// What the vPMU writes to the hardware.
#[repr(C)]
#[derive(Debug)]
pub struct Port {
    /// The hardware's IA32_PERF_GLOBAL_STATUS.
    status: u64,
    /// How many writes there were.
    writes: u64,
    /// The register of the last one.
    msr: u64,
    /// Its value.
    value: u64,
    /// How many of the writes the kernel may repeat by itself.
    approvals: u64,
    /// The guest's value of the last one.
    guest: u64,
}

/// No such register.
const REFUSED: PortError = PortError(1);
const IA32_PERF_GLOBAL_STATUS: u32 = 0x38E;

impl PmuPort for Port {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        Err(REFUSED)
    }

    fn set_mode(&mut self, _mode: KernelMode) -> Result<(), PortError> {
        Err(REFUSED)
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        if msr == IA32_PERF_GLOBAL_STATUS { Ok(self.status) } else { Err(REFUSED) }
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        self.writes += 1;
        self.msr = u64::from(msr);
        self.value = value;
        Ok(())
    }

    fn approve(&mut self, approval: Approval) -> Result<Option<GuestControl>, PortError> {
        if let Approval::Add { msr, guest, hardware } = approval {
            self.approvals += 1;
            self.guest = guest;
            self.write(msr, hardware)?;
        }
        Ok(None)
    }
}

/// Makes a vPMU in `vpmu`; its size in bytes, or 0 if there is none for this setup.
// SAFETY: no other symbol of this library has this name.
#[unsafe(no_mangle)]
#[allow(improper_ctypes_definitions)] // The caller does not look into the vPMU.
pub extern "C" fn vpmu_setup(
    vpmu: &mut MaybeUninit<Vpmu<'static>>,
    table: &'static [AtomicU64; TABLE_WORDS],
    setup: &Setup,
) -> u64 {
    let raw = RawGeometry {
        leaf_a: setup.leaf_a,
        perf_capabilities: setup.perf_capabilities,
        flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE | RawGeometry::SELECTS_TRANSACTIONS,
    };
    let [version, ..] = setup.version.to_le_bytes();
    let wanted = Wanted { version: Some(version), general: None, fixed: None, tsx: setup.tsx != 0 };
    let Some(filter) = Filter::new(table, setup.fixed_permitted) else { return 0 };
    let policy = VmPolicy { channel: 1, mode: Mode::Mediated, wanted, filter, pmi_limit: None };
    match Vpmu::new(&raw, &policy) {
        Ok(made) => {
            vpmu.write(made);
            size_of::<Vpmu<'_>>() as u64
        }
        Err(_) => 0,
    }
}

/// [`Vpmu::write`]: 0 control register, 1 control register of which something may not count, 2 other register,
/// 3 fault, 4 refused by the port.
// SAFETY: as above.
#[unsafe(no_mangle)]
#[allow(improper_ctypes_definitions)] // As above.
pub extern "C" fn vpmu_write(vpmu: &mut Vpmu<'static>, port: &mut Port, msr: u32, value: u64) -> u64 {
    match vpmu.write(port, msr, value) {
        Ok(Written::Control { denied }) => u64::from(denied),
        Ok(Written::Data) => 2,
        Err(Trouble::Fault) => 3,
        Err(Trouble::Port(_)) => 4,
    }
}

/// The same with a mistake for one value of one register: the check must find it.
// SAFETY: as above.
#[unsafe(no_mangle)]
#[allow(improper_ctypes_definitions)] // As above.
pub extern "C" fn vpmu_write_planted(vpmu: &mut Vpmu<'static>, port: &mut Port, msr: u32, value: u64) -> u64 {
    let answer = vpmu_write(vpmu, port, msr, value);
    if msr == 0x187 && value == 0x5E_ED3C {
        port.value = value;
    }
    answer
}
