//! Mappings in an EPT.

use super::Shared;
use crate::guest::{self, Mode};
use crate::programs::state;
use crate::root::Root;
use crate::vm::Vm;
use crate::vmcs::exit;
use sel4_abi::numbers::{guest_register as reg, object};
use sel4_abi::{CPtr, Error, Rights};

/// The first GiB above the guests' RAM.
const GIB: u64 = 1 << 30;
const LARGE_PAGE: u64 = 2 << 20;

/// A frame of 2 MiB is mapped, used to its last word, and gone when it is unmapped; where one is, nothing else goes
/// (SDM 29.3.2).
pub fn large_page(root: &mut Root, shared: &Shared) {
    let pml4 = shared.space.pml4;
    let directory = root.object(object::EPT_PD, 0);
    let table = root.object(object::EPT_PT, 0);
    let page = root.object(object::PAGE_2M, 0);
    let other = root.object(object::PAGE_2M, 0);
    let map =
        |root: &mut Root, page: CPtr, address| root.ipc.page_map_ept(page, pml4, address, Rights::ALL, 0);
    assert_eq!(map(root, page, GIB), Err(Error::FailedLookup), "without a directory");
    root.ipc.ept_pd_map(directory, pml4, GIB).expect("EPT directory");
    assert_eq!(map(root, page, GIB + 4096), Err(Error::AlignmentError));
    for address in [GIB, GIB + LARGE_PAGE, 2 * GIB - LARGE_PAGE] {
        map(root, page, address).expect("2 MiB page");
        assert_eq!(map(root, other, address), Err(Error::DeleteFirst), "a second page");
        assert_eq!(root.ipc.ept_pt_map(table, pml4, address), Err(Error::DeleteFirst), "a table");
        let mut vm = Vm::new(root, 0);
        vm.bind(root);
        vm.load(root, state::far_memory());
        guest::initialise(root, vm.vcpu, Mode::Protected, 0);
        vm.set(reg::EDI, address);
        vm.set(reg::EBX, address ^ 0x55);
        assert_eq!(vm.run(root), exit::VMCALL);
        assert_eq!((vm.registers[reg::ESI], vm.registers[reg::EDX]), (address ^ 0x55, address ^ 0x55));
        root.ipc.page_unmap(page).expect("unmap");
        assert_eq!(vm.enter(root).reason, exit::EPT_VIOLATION, "the guest read an unmapped page");
        root.delete(vm.vcpu);
    }
    for cap in [page, other, table, directory] {
        root.delete(cap);
    }
}

/// Nothing is mapped at an address that an EPT of four levels does not translate (SDM 29.3.2), and the kernel's assertions
/// hold.
pub fn too_high(root: &mut Root, shared: &Shared) {
    let pml4 = shared.space.pml4;
    let [pdpt, directory, table] =
        [object::EPT_PDPT, object::EPT_PD, object::EPT_PT].map(|kind| root.object(kind, 0));
    let [small, large] = [object::PAGE_4K, object::PAGE_2M].map(|kind| root.object(kind, 0));
    for address in [1 << 48, 1 << 63, u64::MAX << 30, 0xffff_8000_0000_0000] {
        let ipc = &mut root.ipc;
        assert_eq!(ipc.ept_pdpt_map(pdpt, pml4, address), Err(Error::InvalidArgument), "{address:#x}");
        assert_eq!(ipc.ept_pd_map(directory, pml4, address), Err(Error::InvalidArgument), "{address:#x}");
        assert_eq!(ipc.ept_pt_map(table, pml4, address), Err(Error::InvalidArgument), "{address:#x}");
        for page in [small, large] {
            let mapped = ipc.page_map_ept(page, pml4, address, Rights::ALL, 0);
            assert_eq!(mapped, Err(Error::InvalidArgument), "{address:#x}");
        }
    }
    // The last address that there is.
    let last = (1 << 48) - LARGE_PAGE;
    root.ipc.ept_pdpt_map(pdpt, pml4, last).expect("EPT PDPT");
    root.ipc.ept_pd_map(directory, pml4, last).expect("EPT directory");
    root.ipc.page_map_ept(large, pml4, last, Rights::ALL, 0).expect("2 MiB page");
    for cap in [large, small, table, directory, pdpt] {
        root.delete(cap);
    }
}
