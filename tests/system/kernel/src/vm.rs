//! A VMM as small as the tests need: one VCPU, its exits, the instructions it completes.

use crate::guest::{self, Mode, PMI_VECTOR};
use crate::memory::{GUEST_PAGES, guest_ram, write_guest};
use crate::root::Root;
use crate::vmcs::{self, exit};
use sel4_abi::invocations::{GuestControl, GuestRegisters};
use sel4_abi::numbers::{guest_register as reg, object, pmu, slot, vm_enter};
use sel4_abi::{CPtr, Rights, VmEnter};

/// An exit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exit {
    pub reason: u64,
    pub qualification: u64,
    pub length: u64,
    pub rflags: u64,
    pub interruptibility: u64,
}

/// What the VMM counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pmis: u64,
    pub cpuid: u64,
    pub rdpmc: u64,
    pub rdmsr: u64,
    pub wrmsr: u64,
}

/// A VCPU and the VMM's side of it.
pub struct Vm {
    pub vcpu: CPtr,
    pub registers: GuestRegisters,
    pub rip: u64,
    pub primary: u64,
    pub counts: Counts,
    /// Whether the VMM tells the kernel of the instructions that it completes.
    pub credit: bool,
    /// Whether the VMM approves of the control writes that it sees.
    pub approve: bool,
    injection: u64,
    completed: u64,
    pmi_pending: bool,
    load_registers: bool,
}

/// The EPT of all guests.
pub struct AddressSpace {
    /// Its root.
    pub pml4: CPtr,
    /// The last page of RAM.
    pub last_page: CPtr,
}

/// Where the last page of RAM is.
pub const LAST_PAGE: u64 = (GUEST_PAGES as u64 - 1) * 4096;

impl AddressSpace {
    /// Maps the guests' RAM at 0.
    pub fn new(root: &mut Root) -> Self {
        let pml4 = root.object(object::EPT_PML4, 0);
        let pdpt = root.object(object::EPT_PDPT, 0);
        let directory = root.object(object::EPT_PD, 0);
        let table = root.object(object::EPT_PT, 0);
        let ipc = &mut root.ipc;
        ipc.asid_pool_assign(slot::INIT_ASID_POOL, pml4).expect("ASID");
        ipc.ept_pdpt_map(pdpt, pml4, 0).expect("EPT PDPT");
        ipc.ept_pd_map(directory, pml4, 0).expect("EPT directory");
        ipc.ept_pt_map(table, pml4, 0).expect("EPT table");
        let mut last_page = 0;
        for page in 0..GUEST_PAGES as u64 {
            last_page = root.frame_at(guest_ram() + page * 4096);
            root.ipc.page_map_ept(last_page, pml4, page * 4096, Rights::ALL, 0).expect("guest page");
        }
        root.ipc.tcb_set_ept_root(slot::INIT_TCB, pml4).expect("EPT root");
        AddressSpace { pml4, last_page }
    }
}

impl Vm {
    /// A VCPU in long mode with PMU mode off.
    pub fn new(root: &mut Root, stack_offset: u64) -> Self {
        let vcpu = root.object(object::VCPU, 0);
        guest::initialise(root, vcpu, Mode::Long, stack_offset);
        Self::with(vcpu)
    }

    /// The same of a VCPU that is there.
    pub fn from_vcpu(root: &mut Root, vcpu: CPtr) -> Self {
        guest::initialise(root, vcpu, Mode::Long, 0);
        Self::with(vcpu)
    }

    fn with(vcpu: CPtr) -> Self {
        Vm {
            vcpu,
            registers: [0; reg::R15 + 1],
            rip: guest::CODE as u64,
            primary: vmcs::PRIMARY_HLT_EXITING,
            counts: Counts::default(),
            credit: true,
            approve: false,
            injection: 0,
            completed: 0,
            pmi_pending: false,
            load_registers: true,
        }
    }

    /// Loads a program at `address` and lets the VCPU start there with all registers 0.
    pub fn load_at(&mut self, root: &mut Root, address: usize, program: &[u8]) {
        write_guest(address, program);
        self.rip = address as u64;
        self.registers = [0; reg::R15 + 1];
        self.counts = Counts::default();
        (self.injection, self.completed, self.pmi_pending) = (0, 0, false);
        self.load_registers = true;
        self.write_vmcs(root, vmcs::GUEST_RFLAGS, 2);
        self.write_vmcs(root, vmcs::GUEST_INTERRUPTIBILITY, 0);
    }

    /// Loads a program at the usual address.
    pub fn load(&mut self, root: &mut Root, program: &[u8]) {
        self.load_at(root, guest::CODE, program);
    }

    pub fn write_vmcs(&self, root: &mut Root, field: u64, value: u64) -> u64 {
        let written = root.ipc.vcpu_write_vmcs(self.vcpu, field, value);
        written.unwrap_or_else(|error| panic!("VMCS field {field:#x}: {error}"))
    }

    pub fn read_vmcs(&self, root: &mut Root, field: u64) -> u64 {
        let value = root.ipc.vcpu_read_vmcs(self.vcpu, field);
        value.unwrap_or_else(|error| panic!("VMCS field {field:#x}: {error}"))
    }

    pub fn set_mode(&self, root: &mut Root, mode: u64) {
        root.ipc.vcpu_pmu_set_mode(self.vcpu, mode).expect("PMU mode");
    }

    pub fn write_msr(&self, root: &mut Root, msr: u64, value: u64) {
        let written = root.ipc.vcpu_pmu_write_msr(self.vcpu, msr, value);
        written.unwrap_or_else(|error| panic!("MSR {msr:#x} = {value:#x}: {error}"));
    }

    pub fn read_msr(&self, root: &mut Root, msr: u64) -> u64 {
        let value = root.ipc.vcpu_pmu_read_msr(self.vcpu, msr);
        value.unwrap_or_else(|error| panic!("MSR {msr:#x}: {error}"))
    }

    pub fn approve(&self, root: &mut Root, msr: u64, guest: u64, hardware: u64) {
        let approved = root.ipc.vcpu_pmu_approve(self.vcpu, msr, guest, hardware);
        approved.unwrap_or_else(|error| panic!("MSR {msr:#x}: {guest:#x} as {hardware:#x}: {error}"));
    }

    pub fn guest_control(&self, root: &mut Root) -> GuestControl {
        root.ipc.vcpu_pmu_guest_control(self.vcpu).expect("the guest's control registers")
    }

    /// Gives the VCPU to the root task's thread.
    pub fn bind(&self, root: &mut Root) {
        root.ipc.vcpu_set_tcb(self.vcpu, slot::INIT_TCB).expect("SetTCB");
    }

    /// Sets a register that the next entry loads.
    pub fn set(&mut self, register: usize, value: u64) {
        self.registers[register] = value;
        self.load_registers = true;
    }

    /// What the next entry injects, right or not.
    pub fn set_injection(&mut self, injection: u64) {
        self.injection = injection;
    }

    /// Enters the guest once.
    pub fn enter(&mut self, root: &mut Root) -> Exit {
        if self.load_registers {
            root.ipc.vcpu_write_registers(self.vcpu, &self.registers).expect("registers");
            self.load_registers = false;
        }
        let completed = if self.credit { self.completed } else { 0 };
        self.completed = 0;
        let mut words = [self.rip, self.primary, self.injection, completed];
        let result = root.ipc.vm_enter(&mut words);
        assert_eq!(result, VmEnter::Exit, "VMEnter");
        self.rip = words[vm_enter::CALL_RIP];
        // An injection that did not happen is still valid.
        self.injection = words[vm_enter::CALL_INTERRUPT_INFO] & 0xffff_ffff;
        let message = &root.ipc.buffer().message;
        let first = vm_enter::FAULT_REGISTERS;
        self.registers.copy_from_slice(&message[first..=first + reg::R15]);
        Exit {
            reason: words[vm_enter::FAULT_REASON],
            qualification: message[vm_enter::FAULT_QUALIFICATION],
            length: message[vm_enter::FAULT_INSTRUCTION_LENGTH],
            rflags: message[vm_enter::FAULT_RFLAGS],
            interruptibility: message[vm_enter::FAULT_GUEST_INTERRUPTIBILITY],
        }
    }

    /// Enters once and says that `completed` was completed.
    pub fn enter_with(&mut self, root: &mut Root, completed: u64) -> Exit {
        self.completed = completed;
        self.enter(root)
    }

    /// Completes the instruction of an exit.
    pub fn complete(&mut self, exit: &Exit) {
        self.rip += exit.length;
        self.completed = pmu::COMPLETED_INSTRUCTION;
    }

    /// The MSR and the value of a WRMSR or RDMSR.
    pub fn msr_operands(&self) -> (u64, u64) {
        let low = |register: usize| self.registers[register] & 0xffff_ffff;
        (low(reg::ECX), low(reg::EDX) << 32 | low(reg::EAX))
    }

    /// Enters until a VMCALL or HLT, which it returns completed; serves all else as a VMM with the PMU right would:
    /// control MSRs are programmed as written, other MSRs read 0.
    pub fn run(&mut self, root: &mut Root) -> u64 {
        loop {
            let exit = self.enter(root);
            match exit.reason {
                exit::EXTERNAL_INTERRUPT => {
                    assert_eq!(exit.qualification, pmu::VECTOR, "only PMIs are told");
                    assert!(!self.pmi_pending, "a PMI before the last one was delivered to the guest");
                    self.counts.pmis += 1;
                    self.pmi_pending = true;
                }
                exit::INTERRUPT_WINDOW => {}
                exit::CPUID => {
                    self.counts.cpuid += 1;
                    self.complete(&exit);
                }
                exit::RDPMC => {
                    self.counts.rdpmc += 1;
                    self.answer(0);
                    self.complete(&exit);
                }
                exit::RDMSR => {
                    self.counts.rdmsr += 1;
                    self.answer(0);
                    self.complete(&exit);
                }
                exit::WRMSR => {
                    self.counts.wrmsr += 1;
                    let (msr, value) = self.msr_operands();
                    if is_control(msr) && self.approve {
                        self.approve(root, msr, value, value);
                    } else if is_control(msr) {
                        self.write_msr(root, msr, value);
                    }
                    self.complete(&exit);
                }
                exit::VMCALL | exit::HLT => {
                    self.complete(&exit);
                    return exit.reason;
                }
                other => panic!("exit {other:#x} at {:#x}: {:x?}", self.rip, self.registers),
            }
            self.inject(&exit);
        }
    }

    /// What the guest has read, in EDX:EAX.
    pub fn answer(&mut self, value: u64) {
        self.registers[reg::EAX] = value & 0xffff_ffff;
        self.registers[reg::EDX] = value >> 32;
        self.load_registers = true;
    }

    /// Injects a pending PMI if the guest takes interrupts now, or asks for the window.
    fn inject(&mut self, exit: &Exit) {
        self.primary &= !vmcs::PRIMARY_INTERRUPT_WINDOW;
        if !self.pmi_pending {
            return;
        }
        let open = exit.rflags & 1 << 9 != 0 && exit.interruptibility & 3 == 0;
        if open && self.injection & vmcs::INJECT_VALID == 0 {
            self.pmi_pending = false;
            self.injection = vmcs::INJECT_VALID | PMI_VECTOR;
        } else {
            self.primary |= vmcs::PRIMARY_INTERRUPT_WINDOW;
        }
    }
}

/// The first IA32_PERFEVTSELx, and IA32_FIXED_CTR_CTRL.
pub const PERFEVTSEL0: u64 = 0x186;
pub const FIXED_CTR_CTRL: u64 = 0x38d;
/// IA32_PERF_GLOBAL_CTRL.
pub const GLOBAL_CTRL: u64 = 0x38f;

fn is_control(msr: u64) -> bool {
    (PERFEVTSEL0..PERFEVTSEL0 + 8).contains(&msr) || msr == FIXED_CTR_CTRL
}
