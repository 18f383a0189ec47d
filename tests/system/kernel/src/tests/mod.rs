//! The tests. Each panics when something is not as it must be.

mod access;
mod approved;
mod authority;
mod control;
mod counting;
mod entry;
mod ept;
mod faults;
mod fuzz;
mod isolation;
mod mends;
mod modes;
mod numbers;
mod pmi;
mod replies;
mod state;

use crate::guest;
use crate::root::Root;
use crate::vm::AddressSpace;
use sel4_abi::invocations::PmuGeometry;
use sel4_abi::numbers::pmu;

/// What all tests share.
pub struct Shared {
    pub space: AddressSpace,
    pub geometry: Geometry,
}

/// The hardware's PMU (SDM 20.2), from CPUID leaf 0xA.
#[derive(Clone, Copy)]
pub struct Geometry {
    pub gp: u64,
    pub fixed: u64,
    /// VM exits save IA32_PERF_GLOBAL_CTRL, so that a guest may write it directly.
    pub exit_save: bool,
}

impl Geometry {
    /// Versions before 5 have no bitmap of fixed counters; the tests need no gaps in it.
    fn from_kernel(geometry: &PmuGeometry) -> Self {
        let [eax, _, _, edx] = geometry.leaf_0a;
        let exit_save = geometry.flags & pmu::FLAG_SAVE_GLOBAL_CTRL != 0;
        Geometry { gp: u64::from(eax >> 8 & 0xff), fixed: u64::from(edx & 0x1f), exit_save }
    }
}

type Test = fn(&mut Root, &Shared);

const TESTS: &[(&str, Test)] = &[
    ("registers stay intact", modes::registers),
    ("32-bit and real-mode guests", modes::small),
    ("FPU state is each guest's and thread's own", modes::fpu),
    ("a first entry that fails", mends::first_entry),
    ("VMEnter without a VCPU", mends::without_vcpu),
    ("VMEnter sets the preemption timer", mends::timer),
    ("a VCPU taken from a running guest", mends::taken),
    ("a spinning guest uses its time slice only", mends::time_slice),
    ("an unmapped page is gone at once", mends::unmapped),
    ("a mapping goes with its capability", mends::copy_deleted),
    ("a reply lets the most urgent thread run", replies::order),
    ("a reply leads a thread that has faulted elsewhere", faults::led),
    ("a reply leads no thread to an address that is not canonical", faults::not_canonical),
    ("user level reaches the kernel's descriptors alone", mends::descriptors),
    ("a flag of user level does not stop the kernel", entry::nested_task),
    ("the kernel's copies go upwards", entry::direction),
    ("SYSENTER is closed", entry::sysenter),
    ("FS.base is each thread's own", entry::fs_base),
    ("a TLS base does not stop the kernel", entry::tls_base),
    ("an IPC buffer lies in its frame", entry::buffer_address),
    ("DR6 is the guest's, whatever a thread does", entry::debug_status),
    ("ports go with the capability that gave them", mends::ports),
    ("a page is not mapped into no EPT", mends::map_without_ept),
    ("a deleted VCPU leaves nothing", mends::deleted),
    ("SYSCALL is each guest's own", state::syscall),
    ("FS, GS and KERNEL_GS bases are each guest's own", state::bases),
    ("a base that is not canonical faults in the guest", state::bad_base),
    ("CR2 and debug registers are each guest's own", state::cr2_and_debug),
    ("a VMM sets CR2 and the offset of the time-stamp counter", state::cr2_and_time),
    ("#DB, #AC and #MC always exit", state::forced_exceptions),
    ("AVX state is each guest's own", state::avx),
    ("XCR0 is the host's after an entry that fails", state::xcr0_after_failure),
    ("TSC_AUX is each guest's own", state::tsc_aux),
    ("PAT is each guest's own", state::pat),
    ("CR4 bits whose registers nothing switches stay clear", control::cr4),
    ("a guest leaves the caches on", control::caches),
    ("wrong MSRs and XCR0 values are refused", state::refusals),
    ("2 MiB pages of an EPT", ept::large_page),
    ("guest-physical addresses above 48 bits are refused", ept::too_high),
    ("direct access does not exit and counts exactly", access::direct),
    ("closed access exits", access::closed),
    ("raw access does not exit", access::raw),
    ("trapped access exits and counts", access::trapped),
    ("completed instructions count once", counting::completed),
    ("completed instructions follow ring and CMASK", counting::filters),
    ("completed instructions follow each CPL", counting::rings),
    ("approved accesses do not exit", approved::accesses),
    ("what is not approved exits", approved::refused),
    ("trapping flags and EIP are the VMM's", approved::unusual),
    ("approved accesses end blocking by one instruction", approved::blocking),
    ("approved accesses count once", approved::counted),
    ("a full table takes new pairs", approved::full),
    ("free places of the table hold nothing", approved::free_places),
    ("approved accesses leave the processor to others", approved::preempted),
    ("host GLOBAL_CTRL is 0", counting::host),
    ("two VCPUs interleaved", isolation::interleaved),
    ("each VCPU counts what its selector says", isolation::selectors),
    ("run-right writes gain nothing", isolation::attempts),
    ("rights are refused each way", authority::rights),
    ("answers are not written where the caller may not write", authority::read_only_buffer),
    ("wrong arguments are refused", authority::arguments),
    ("user level cannot forge a PMI", pmi::forged),
    ("PMIs, one VCPU", pmi::one),
    ("PMIs, two VCPUs preempting each other", pmi::two),
    ("a PMI on its way stays its guest's", pmi::hidden),
    ("figures", numbers::figures),
    ("random invocations", fuzz::random),
];

/// The tests of a processor whose VM exits do not save IA32_PERF_GLOBAL_CTRL.
const WITHOUT_EXIT_SAVE: &[(&str, Test)] = &[
    ("closed access exits", access::closed),
    ("trapped access exits and counts", access::trapped),
    ("GLOBAL_CTRL exits, and counting is exact", access::unsaved),
    ("rights are refused each way", authority::rights),
];

/// Only tests whose names contain this run: the figures, which a benchmark wants alone; for debugging, what is in the
/// environment of the build.
const ONLY: Option<&str> =
    if cfg!(kernel_figures) { Some("figures") } else { option_env!("KERNEL_TESTS_ONLY") };

/// Runs every test.
pub fn all(root: &mut Root) {
    guest::fill_tables();
    let space = AddressSpace::new(root);
    let vcpu = root.object(sel4_abi::numbers::object::VCPU, 0);
    let kernels = root.ipc.vcpu_pmu_get_geometry(vcpu).expect("geometry");
    let geometry = Geometry::from_kernel(&kernels);
    let (tests, control) =
        if geometry.exit_save { (TESTS, "") } else { (WITHOUT_EXIT_SAVE, ", exits do not save GLOBAL_CTRL") };
    root.line(format_args!("kernel tests: {} + {} counters{control}", geometry.gp, geometry.fixed));
    let shared = Shared { space, geometry };
    let wanted = tests.iter().filter(|(name, _)| ONLY.is_none_or(|only| name.contains(only)));
    let mut passed = 0;
    for (name, test) in wanted {
        test(root, &shared);
        root.line(format_args!("test {name}: ok"));
        passed += 1;
    }
    let which = if passed == tests.len() { "all" } else { "some" };
    root.line(format_args!("kernel tests: {which} passed, {passed} of {}", tests.len()));
}
