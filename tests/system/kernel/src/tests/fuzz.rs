//! Random invocations with random arguments, and entries into what they make of a guest.

use super::Shared;
use crate::guest::{self, CODE, Mode};
use crate::memory::{BufferPage, Stack};
use crate::programs;
use crate::root::Root;
use crate::threads::Thread;
use crate::vm::Vm;
use crate::vmcs::exit;
use core::sync::atomic::{AtomicU64, Ordering};
use sel4_abi::numbers::{label, object, pmu};
use sel4_abi::{CPtr, Error, Ipc, Rights, yield_now};

/// In each sequence. The debug kernel, which checks its assertions, takes a line of the serial port for each refusal.
const INVOCATIONS: u64 = if cfg!(release_kernel) { 4_000 } else { 200 };

/// Where the sequences start.
const SEEDS: [u64; 4] =
    [0x2545_f491_4f6c_dd1d, 0x1234_5678_9abc_de01, 0xda94_2042_e4dd_58b5, 0x0123_4567_89ab_cdef];

/// How many invocations pass between two entries, and between two repairs of the guest.
const ENTRY_EVERY: u64 = 8;
const GUEST_EVERY: u64 = 64;

/// MOV ECX, 0x186; WRMSR of whatever is in EDX:EAX; RDMSR; CPUID; again.
const CONTROL_WRITES: &[u8] = &[0xb9, 0x86, 0x01, 0x00, 0x00, 0x0f, 0x30, 0x0f, 0x32, 0x0f, 0xa2, 0xeb, 0xf3];

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or_default()]
    }

    /// A word: anything, a small number, a VMCS field or MSR number, a single bit, a mask.
    fn word(&mut self) -> u64 {
        match self.below(8) {
            0 => self.next(),
            1 => self.below(16),
            2 => 0x4000 + 2 * self.below(0x20),
            // From GUEST_CR3 on: with GUEST_CR0.PE clear in some of these states Bochs itself gives up.
            3 => 0x6802 + 2 * self.below(0x13),
            4 => self.pick(&[
                0x186,
                0x187,
                0x309,
                0x30a,
                0x38d,
                0x38e,
                0x38f,
                0x4c1,
                0x4c8,
                0xc000_0081,
                0xc000_0082,
                0xc000_0084,
            ]),
            5 => 1 << self.below(64),
            6 => u64::MAX >> self.below(64),
            _ => self.pick(&[0x800, 0x802, 0x2802, 0x2806, 0x2808, 0x4812, 0x4824, 0x4016, 0x681a, 0x6820]),
        }
    }
}

static STACK: Stack<0x2000> = Stack::new();
static BUFFER: BufferPage = BufferPage::new();
static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// Enters whatever guest the VCPU has become.
extern "C" fn enter_anything() -> ! {
    // SAFETY: the page is this thread's buffer, and this function is all that it runs.
    let mut ipc = unsafe { Ipc::new(core::ptr::NonNull::new_unchecked(BUFFER.pointer())) };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    loop {
        let mut words = [CODE as u64, random.word(), random.word(), random.word()];
        ipc.vm_enter(&mut words);
        ENTRIES.fetch_add(1, Ordering::Relaxed);
        yield_now();
    }
}

/// The kernel goes on, and a new VM still works, whatever the sequence.
pub fn random(root: &mut Root, shared: &Shared) {
    for seed in SEEDS {
        sequence(root, shared, seed);
    }
}

fn sequence(root: &mut Root, shared: &Shared, seed: u64) {
    let mut random = Random(seed);
    ENTRIES.store(0, Ordering::Relaxed);
    let thread = Thread::new(root, enter_anything, &STACK, &BUFFER);
    root.ipc.tcb_set_ept_root(thread.tcb, shared.space.pml4).expect("EPT root");
    let mut vm = Vm::new(root, 0);
    vm.load(root, CONTROL_WRITES);
    root.ipc.vcpu_set_tcb(vm.vcpu, thread.tcb).expect("SetTCB");
    let spare = Vm::new(root, 0x400);
    let run_only = root.copy(vm.vcpu, Rights::VCPU_RUN).expect("run");
    let idle_tcb = root.object(object::TCB, 0);
    let cnode = root.object(object::CNODE, 4);
    let victims: [CPtr; 11] = [
        vm.vcpu,
        vm.vcpu,
        spare.vcpu,
        run_only,
        idle_tcb,
        cnode,
        root.object(object::PAGE_4K, 0),
        root.object(object::EPT_PML4, 0),
        root.object(object::EPT_PT, 0),
        root.object(object::PAGE_TABLE, 0),
        root.spare_memory(16),
    ];
    thread.start(root);
    let (mut accepted, mut refused) = (0, 0);
    for i in 0..INVOCATIONS {
        let cap = random.pick(&victims);
        let vcpu_label = random.below(4) != 0;
        let invocation = if vcpu_label {
            label::X86_VCPU_SET_TCB + random.below(label::X86_VCPU_WRITE_CR2 - label::X86_VCPU_SET_TCB + 1)
        } else {
            random.below(label::X86_EPTPT_UNMAP + 8)
        };
        let arguments: [u64; 20] = core::array::from_fn(|_| random.word());
        let length = usize::try_from(random.below(21)).unwrap_or_default();
        // Extra capabilities: victims, and the thread that runs the guest.
        let others = [random.pick(&victims), thread.tcb];
        let caps = usize::try_from(random.below(3)).unwrap_or_default();
        match root.ipc.invoke(cap, invocation, &arguments[..length], &others[..caps]) {
            Ok(_) => accepted += 1,
            Err(Error::Unknown(error)) => {
                panic!("invocation {i} of {cap}, label {invocation}: error {error}")
            }
            Err(_) => refused += 1,
        }
        if i % GUEST_EVERY == 0 {
            // From a guest that works, so that entries succeed too.
            guest::initialise(root, vm.vcpu, Mode::Long, 0);
            let _ = root.ipc.vcpu_pmu_set_mode(vm.vcpu, pmu::MODE_DIRECT);
        }
        if i % ENTRY_EVERY == 0 {
            // The guest's thread gets its VCPU back, and starts again if it has lost it in between.
            root.ipc.vcpu_set_tcb(vm.vcpu, thread.tcb).expect("SetTCB");
            thread.start(root);
            yield_now();
        }
    }
    thread.stop(root);
    assert!(
        accepted > INVOCATIONS / 50 && refused > INVOCATIONS / 50,
        "accepted {accepted}, refused {refused}"
    );
    let entries = ENTRIES.load(Ordering::Relaxed);
    assert!(entries > INVOCATIONS / 50, "{entries} entries");
    let mut vm = Vm::new(root, 0);
    vm.bind(root);
    vm.load(root, programs::count());
    assert_eq!(vm.run(root), exit::HLT, "a new guest after all this");
}
