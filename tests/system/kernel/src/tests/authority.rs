//! The two rights of a VCPU capability, and the arguments of the PMU right's invocations.

use super::Shared;
use crate::memory::{BufferPage, Stack};
use crate::root::Root;
use crate::threads::Thread;
use crate::vmcs;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{label, object, pmu, slot};
use sel4_abi::{CPtr, Error, Ipc, Rights, yield_now};

/// Every invocation of a VCPU, with arguments that are right, and whether it belongs to the PMU right.
fn invocations() -> [(u64, &'static [u64], &'static [CPtr], bool); 16] {
    [
        (label::X86_VCPU_SET_TCB, &[], &[slot::INIT_TCB], false),
        (label::X86_VCPU_READ_VMCS, &[vmcs::GUEST_RIP], &[], false),
        (label::X86_VCPU_WRITE_VMCS, &[vmcs::GUEST_RFLAGS, 2], &[], false),
        (label::X86_VCPU_ENABLE_IO_PORT, &[0x80, 0x80], &[slot::IO_PORT], false),
        (label::X86_VCPU_DISABLE_IO_PORT, &[0x80, 0x80], &[], false),
        (label::X86_VCPU_WRITE_REGISTERS, &[0; 15], &[], false),
        (label::X86_VCPU_WRITE_MSR, &[0xc000_0081, 0], &[], false),
        (label::X86_VCPU_WRITE_XCR0, &[1], &[], false),
        (label::X86_VCPU_WRITE_CR2, &[0x1000], &[], false),
        (label::X86_VCPU_PMU_GET_GEOMETRY, &[], &[], true),
        (label::X86_VCPU_PMU_SET_MODE, &[pmu::MODE_TRAPPED], &[], true),
        (label::X86_VCPU_PMU_WRITE_MSR, &[0x186, 0x43_00c0], &[], true),
        (label::X86_VCPU_PMU_APPROVE, &[0x186, 0x43_00c0, 0x43_00c0], &[], true),
        (label::X86_VCPU_PMU_WITHDRAW, &[], &[], true),
        (label::X86_VCPU_PMU_GUEST_CONTROL, &[], &[], true),
        (label::X86_VCPU_PMU_READ_MSR, &[0x186], &[], true),
    ]
}

/// Each capability serves its own half and refuses the other; a copy of a copy regains nothing.
pub fn rights(root: &mut Root, _: &Shared) {
    let all = root.object(object::VCPU, 0);
    let run = root.copy(all, Rights::VCPU_RUN).expect("run");
    let pmu = root.copy(all, Rights::VCPU_PMU).expect("PMU");
    let run_again = root.copy(run, Rights::ALL).expect("run");
    let pmu_again = root.copy(pmu, Rights::ALL).expect("PMU");
    let none = root.copy(pmu, Rights::VCPU_RUN).expect("none");
    let caps = [
        (all, true, true),
        (run, true, false),
        (pmu, false, true),
        (run_again, true, false),
        (pmu_again, false, true),
        (none, false, false),
    ];
    for (i, (cap, may_run, may_pmu)) in caps.into_iter().enumerate() {
        for (invocation, arguments, others, is_pmu) in invocations() {
            let result = root.ipc.invoke(cap, invocation, arguments, others).map(drop);
            let allowed = if is_pmu { may_pmu } else { may_run };
            let wanted = if allowed { Ok(()) } else { Err(Error::IllegalOperation) };
            assert_eq!(result, wanted, "capability {i}, label {invocation}");
        }
    }
    root.ipc.vcpu_pmu_set_mode(all, pmu::MODE_OFF).expect("mode off");
}

static STACK: Stack<0x2000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
static VCPU: AtomicU64 = AtomicU64::new(0);
/// 1: the answers' words in the buffer are as they were; 2: they are not.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Asks what is answered in more words than registers hold.
extern "C" fn ask() -> ! {
    const BEFORE: u64 = 0x5eed_5eed_5eed_5eed;
    // SAFETY: the page is this thread's buffer, and this function is all that it runs.
    let mut ipc = unsafe { Ipc::new(core::ptr::NonNull::new_unchecked(BUFFER.pointer())) };
    ipc.buffer_mut().message.fill(BEFORE);
    let vcpu = VCPU.load(Ordering::Relaxed);
    let answered = ipc.vcpu_pmu_get_geometry(vcpu).is_ok() && ipc.vcpu_pmu_guest_control(vcpu).is_ok();
    let kept = ipc.buffer().message.iter().all(|word| *word == BEFORE);
    SEEN.store(if answered && kept { 1 } else { 2 }, Ordering::Relaxed);
    loop {
        yield_now();
    }
}

/// A thread whose IPC buffer is a frame that it may only read gets the words in registers, and the frame stays as it is.
pub fn read_only_buffer(root: &mut Root, _: &Shared) {
    VCPU.store(root.object(object::VCPU, 0), Ordering::Relaxed);
    let thread = Thread::new(root, ask, &STACK, &BUFFER);
    let address = BUFFER.pointer() as u64;
    let frame = root.frame_at(address);
    let frame = root.copy(frame, Rights::READ).expect("a frame to read");
    root.ipc.invoke(thread.tcb, label::TCB_SET_IPC_BUFFER, &[address], &[frame]).expect("IPC buffer");
    thread.start(root);
    for _ in 0..100 {
        yield_now();
    }
    thread.stop(root);
    assert_eq!(SEEN.load(Ordering::Relaxed), 1, "the answer is in the frame");
}

/// Each wrong argument of the PMU right's invocations is refused and changes nothing.
pub fn arguments(root: &mut Root, shared: &Shared) {
    let vcpu = root.object(object::VCPU, 0);
    let ipc = &mut root.ipc;
    assert_eq!(ipc.vcpu_pmu_set_mode(vcpu, pmu::MODE_RAW + 1), Err(Error::InvalidArgument));
    assert_eq!(ipc.vcpu_pmu_set_mode(vcpu, u64::MAX), Err(Error::InvalidArgument));
    let gp = shared.geometry.gp;
    let fixed = shared.geometry.fixed;
    // Bits that hardware refuses, or that reach beyond the VM.
    let refused_values = [
        (0x186, 1 << 21),
        (0x186, 1 << 19),
        (0x186, 1 << 32),
        (0x186, 1 << 63),
        (0x38d, 1 << 2),
        (0x38d, 1 << (4 * fixed)),
        (0x4c1, 1 << 48),
        (0x309, 1 << 48),
        (0x38e, 1 << gp),
        (0x38e, 1 << 62),
        (0x38f, 1 << gp),
        (0x38f, 1 << (32 + fixed)),
    ];
    for (msr, value) in refused_values {
        let before = ipc.vcpu_pmu_read_msr(vcpu, msr);
        assert_eq!(
            ipc.vcpu_pmu_write_msr(vcpu, msr, value),
            Err(Error::InvalidArgument),
            "{msr:#x} {value:#x}"
        );
        assert_eq!(ipc.vcpu_pmu_read_msr(vcpu, msr), before, "{msr:#x}");
    }
    let no_msrs = [
        0,
        0xc1,
        0x185,
        0x186 + gp,
        0x308,
        0x309 + fixed,
        0x345,
        0x390,
        0x391,
        0x3f1,
        0x4c0,
        0x4c1 + gp,
        1 << 32 | 0x186,
    ];
    for msr in no_msrs {
        assert_eq!(ipc.vcpu_pmu_write_msr(vcpu, msr, 0), Err(Error::InvalidArgument), "{msr:#x}");
        assert_eq!(ipc.vcpu_pmu_read_msr(vcpu, msr), Err(Error::InvalidArgument), "{msr:#x}");
    }
    // Only control registers are approved, with values of 32 bits that hardware takes.
    let control = ipc.vcpu_pmu_guest_control(vcpu);
    for (msr, guest, value) in [
        (0x186, 0, 1 << 21),
        (0x186, 0, 1 << 19),
        (0x186, 0, 1 << 32),
        (0x186, 1 << 32, 0),
        (0x186 + gp, 0, 0),
        (0x38d, 0, 1 << 2),
        (0x38d, 0, 1 << (4 * fixed)),
        (0x38d, 1 << 63, 0),
        (0x4c1, 0, 0),
        (0x309, 0, 0),
        (0x38e, 0, 0),
        (0x38f, 0, 0),
        (1 << 32 | 0x186, 0, 0),
    ] {
        assert_eq!(
            ipc.vcpu_pmu_approve(vcpu, msr, guest, value),
            Err(Error::InvalidArgument),
            "{msr:#x} {guest:#x} {value:#x}"
        );
    }
    assert_eq!(ipc.vcpu_pmu_guest_control(vcpu), control);
    assert_eq!(ipc.vcpu_pmu_read_msr(vcpu, 0x186), Ok(0));
    for (invocation, words) in [
        (label::X86_VCPU_PMU_SET_MODE, 0),
        (label::X86_VCPU_PMU_WRITE_MSR, 1),
        (label::X86_VCPU_PMU_APPROVE, 2),
        (label::X86_VCPU_PMU_READ_MSR, 0),
    ] {
        let result = ipc.invoke(vcpu, invocation, &[0; 2][..words], &[]);
        assert_eq!(result.map(drop), Err(Error::TruncatedMessage), "label {invocation}");
    }
    // Values that are right stay, loaded or not.
    for (msr, value) in
        [(0x186, 0xffd7_ffff), (0x4c1, 0xffff_ffff_ffff), (0x309, 7), (0x38d, 0xbb), (0x38e, 1), (0x38f, 3)]
    {
        ipc.vcpu_pmu_write_msr(vcpu, msr, value).expect("a right value");
        assert_eq!(ipc.vcpu_pmu_read_msr(vcpu, msr), Ok(value), "{msr:#x}");
    }
}
