//! The fields of the VMCS.

/// VMCS fields that the VMM reads or writes; the value is the encoding (SDM vol. 3D, appendix B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Field {
    /// Selector of ES; the selectors of CS, SS, DS, FS, GS, LDTR and TR follow in steps of 2.
    GuestEsSelector = 0x0800,
    /// Selector of CS.
    GuestCsSelector = 0x0802,
    /// Selector of SS.
    GuestSsSelector = 0x0804,
    /// Selector of DS.
    GuestDsSelector = 0x0806,
    /// Selector of FS.
    GuestFsSelector = 0x0808,
    /// Selector of GS.
    GuestGsSelector = 0x080a,
    /// Selector of LDTR.
    GuestLdtrSelector = 0x080c,
    /// Selector of TR.
    GuestTrSelector = 0x080e,
    /// TSC offset.
    TscOffset = 0x2010,
    /// IA32_DEBUGCTL of the guest.
    GuestDebugctl = 0x2802,
    /// IA32_PAT of the guest.
    GuestPat = 0x2804,
    /// IA32_EFER of the guest.
    GuestEfer = 0x2806,
    /// IA32_PERF_GLOBAL_CTRL of the guest; only a kernel without the PMU extension takes it.
    GuestPerfGlobalControl = 0x2808,
    /// The page-directory-pointer-table entries of PAE paging, the first one.
    GuestPdpte0 = 0x280a,
    /// The second one.
    GuestPdpte1 = 0x280c,
    /// The third one.
    GuestPdpte2 = 0x280e,
    /// The fourth one.
    GuestPdpte3 = 0x2810,
    /// Pin-based VM-execution controls.
    PinControls = 0x4000,
    /// Primary processor-based VM-execution controls.
    PrimaryControls = 0x4002,
    /// Exception bitmap.
    ExceptionBitmap = 0x4004,
    /// VM-exit controls.
    ExitControls = 0x400c,
    /// VM-entry controls.
    EntryControls = 0x4012,
    /// VM-entry exception error code.
    EntryErrorCode = 0x4018,
    /// Secondary processor-based VM-execution controls.
    SecondaryControls = 0x401e,
    /// VM-instruction error.
    InstructionError = 0x4400,
    /// VM-exit interruption information.
    ExitInterruptionInformation = 0x4404,
    /// IDT-vectoring information.
    IdtVectoringInformation = 0x4408,
    /// VM-exit instruction information.
    ExitInstructionInformation = 0x440e,
    /// Limit of ES.
    GuestEsLimit = 0x4800,
    /// Limit of CS.
    GuestCsLimit = 0x4802,
    /// Limit of SS.
    GuestSsLimit = 0x4804,
    /// Limit of DS.
    GuestDsLimit = 0x4806,
    /// Limit of FS.
    GuestFsLimit = 0x4808,
    /// Limit of GS.
    GuestGsLimit = 0x480a,
    /// Limit of LDTR.
    GuestLdtrLimit = 0x480c,
    /// Limit of TR.
    GuestTrLimit = 0x480e,
    /// Limit of GDTR.
    GuestGdtrLimit = 0x4810,
    /// Limit of IDTR.
    GuestIdtrLimit = 0x4812,
    /// Access rights of ES.
    GuestEsAccessRights = 0x4814,
    /// Access rights of CS.
    GuestCsAccessRights = 0x4816,
    /// Access rights of SS.
    GuestSsAccessRights = 0x4818,
    /// Access rights of DS.
    GuestDsAccessRights = 0x481a,
    /// Access rights of FS.
    GuestFsAccessRights = 0x481c,
    /// Access rights of GS.
    GuestGsAccessRights = 0x481e,
    /// Access rights of LDTR.
    GuestLdtrAccessRights = 0x4820,
    /// Access rights of TR.
    GuestTrAccessRights = 0x4822,
    /// Interruptibility state.
    GuestInterruptibility = 0x4824,
    /// Activity state.
    GuestActivity = 0x4826,
    /// VMX-preemption timer value.
    PreemptionTimer = 0x482e,
    /// CR0 guest/host mask: a set bit is the VMM's.
    Cr0Mask = 0x6000,
    /// CR4 guest/host mask.
    Cr4Mask = 0x6002,
    /// What the guest reads in the masked bits of CR0.
    Cr0ReadShadow = 0x6004,
    /// What the guest reads in the masked bits of CR4.
    Cr4ReadShadow = 0x6006,
    /// Guest-linear address of an exit.
    GuestLinearAddress = 0x640a,
    /// CR0.
    GuestCr0 = 0x6800,
    /// CR3.
    GuestCr3 = 0x6802,
    /// CR4.
    GuestCr4 = 0x6804,
    /// Base of ES.
    GuestEsBase = 0x6806,
    /// Base of CS.
    GuestCsBase = 0x6808,
    /// Base of SS.
    GuestSsBase = 0x680a,
    /// Base of DS.
    GuestDsBase = 0x680c,
    /// Base of FS.
    GuestFsBase = 0x680e,
    /// Base of GS.
    GuestGsBase = 0x6810,
    /// Base of LDTR.
    GuestLdtrBase = 0x6812,
    /// Base of TR.
    GuestTrBase = 0x6814,
    /// Base of GDTR.
    GuestGdtrBase = 0x6816,
    /// Base of IDTR.
    GuestIdtrBase = 0x6818,
    /// DR7.
    GuestDr7 = 0x681a,
    /// RSP.
    GuestRsp = 0x681c,
    /// RIP.
    GuestRip = 0x681e,
    /// RFLAGS.
    GuestRflags = 0x6820,
    /// Pending debug exceptions.
    GuestPendingDebug = 0x6822,
}
