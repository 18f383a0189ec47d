//! The numbers that user level shares with the kernel, taken from the kernel's headers by its compiler.

use crate::compile::{Step, output, run};
use crate::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A Rust module: its documentation, its type, and pairs of Rust name and C expression.
struct Module {
    name: &'static str,
    doc: &'static str,
    kind: &'static str,
    entries: Vec<(String, String)>,
}

/// Headers that declare what the modules name.
const HEADERS: &[&str] = &[
    "config.h",
    "types.h",
    "api/types.h",
    "api/syscall.h",
    "api/errors.h",
    "api/faults.h",
    "api/bootinfo_types.h",
    "arch/api/invocation.h",
    "arch/object/vcpu.h",
    "arch/api/vmenter.h",
    "object/structures.h",
    "plat/machine.h",
];

/// `seL4_X86_VCPUObject` becomes VCPU and so on: the prefixes that Rust's module path replaces.
const OBJECTS: &[(&str, &str)] = &[
    ("UNTYPED", "seL4_UntypedObject"),
    ("TCB", "seL4_TCBObject"),
    ("ENDPOINT", "seL4_EndpointObject"),
    ("NOTIFICATION", "seL4_NotificationObject"),
    ("CNODE", "seL4_CapTableObject"),
    ("PDPT", "seL4_X86_PDPTObject"),
    ("PML4", "seL4_X64_PML4Object"),
    ("PAGE_4K", "seL4_X86_4K"),
    ("PAGE_2M", "seL4_X86_LargePageObject"),
    ("PAGE_TABLE", "seL4_X86_PageTableObject"),
    ("PAGE_DIRECTORY", "seL4_X86_PageDirectoryObject"),
    ("VCPU", "seL4_X86_VCPUObject"),
    ("EPT_PML4", "seL4_X86_EPTPML4Object"),
    ("EPT_PDPT", "seL4_X86_EPTPDPTObject"),
    ("EPT_PD", "seL4_X86_EPTPDObject"),
    ("EPT_PT", "seL4_X86_EPTPTObject"),
];

const SIZE_BITS: &[(&str, &str)] = &[
    ("SLOT", "seL4_SlotBits"),
    ("TCB", "seL4_TCBBits"),
    ("ENDPOINT", "seL4_EndpointBits"),
    ("NOTIFICATION", "seL4_NotificationBits"),
    ("PAGE_4K", "seL4_PageBits"),
    ("PAGE_2M", "seL4_LargePageBits"),
    ("PAGE_TABLE", "seL4_PageTableBits"),
    ("PAGE_DIRECTORY", "seL4_PageDirBits"),
    ("PDPT", "seL4_PDPTBits"),
    ("PML4", "seL4_PML4Bits"),
    ("ASID_POOL", "seL4_ASIDPoolBits"),
    ("VCPU", "seL4_X86_VCPUBits"),
    ("EPT_PML4", "seL4_X86_EPTPML4Bits"),
    ("EPT_PDPT", "seL4_X86_EPTPDPTBits"),
    ("EPT_PD", "seL4_X86_EPTPDBits"),
    ("EPT_PT", "seL4_X86_EPTPTBits"),
    ("MIN_UNTYPED", "seL4_MinUntypedBits"),
    ("MAX_UNTYPED", "seL4_MaxUntypedBits"),
];

const SLOTS: &[(&str, &str)] = &[
    ("NULL", "seL4_CapNull"),
    ("INIT_TCB", "seL4_CapInitThreadTCB"),
    ("INIT_CNODE", "seL4_CapInitThreadCNode"),
    ("INIT_VSPACE", "seL4_CapInitThreadVSpace"),
    ("IRQ_CONTROL", "seL4_CapIRQControl"),
    ("ASID_CONTROL", "seL4_CapASIDControl"),
    ("INIT_ASID_POOL", "seL4_CapInitThreadASIDPool"),
    ("IO_PORT", "seL4_CapIOPort"),
    ("IO_SPACE", "seL4_CapIOSpace"),
    ("BOOT_INFO_FRAME", "seL4_CapBootInfoFrame"),
    ("INIT_IPC_BUFFER", "seL4_CapInitThreadIPCBuffer"),
    ("DOMAIN", "seL4_CapDomain"),
    ("INITIAL_CAPS", "seL4_NumInitialCaps"),
];

const LIMITS: &[(&str, &str)] = &[
    ("MESSAGE_LENGTH", "seL4_MsgMaxLength"),
    ("EXTRA_CAPS", "seL4_MsgMaxExtraCaps"),
    ("BOOT_INFO_UNTYPED", "CONFIG_MAX_NUM_BOOTINFO_UNTYPED_CAPS"),
    ("RETYPE_FAN_OUT", "CONFIG_RETYPE_FAN_OUT_LIMIT"),
    ("PRIORITIES", "CONFIG_NUM_PRIORITIES"),
    ("TIMER_TICK_MS", "CONFIG_TIMER_TICK_MS"),
    ("IRQ_MAX", "maxIRQ"),
    ("IPC_BUFFER_SIZE", "sizeof(seL4_IPCBuffer)"),
    ("BOOT_INFO_SIZE", "sizeof(seL4_BootInfo)"),
    ("BOOT_INFO_UNTYPED_LIST", "__builtin_offsetof(seL4_BootInfo, untypedList)"),
];

const ERRORS: &[&str] = &[
    "NoError",
    "InvalidArgument",
    "InvalidCapability",
    "IllegalOperation",
    "RangeError",
    "AlignmentError",
    "FailedLookup",
    "TruncatedMessage",
    "DeleteFirst",
    "RevokeFirst",
    "NotEnoughMemory",
];

const FAULTS: &[(&str, &str)] = &[
    ("NULL", "seL4_Fault_NullFault"),
    ("CAP", "seL4_Fault_CapFault"),
    ("UNKNOWN_SYSCALL", "seL4_Fault_UnknownSyscall"),
    ("USER_EXCEPTION", "seL4_Fault_UserException"),
    ("VM", "seL4_Fault_VMFault"),
];

/// The kernel's arrays that give the order of `TCBReadRegisters`, and where they are.
const THREAD_REGISTER_FILE: &str = "src/arch/x86/64/machine/registerset.c";
const THREAD_REGISTER_ARRAYS: &[&str] = &["frameRegisters[] = {", "gpRegisters[] = {"];

const GUEST_REGISTERS: &[&str] =
    &["EAX", "EBX", "ECX", "EDX", "ESI", "EDI", "EBP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

/// Message registers of `VMEnter`, and what is in the last one that it takes (include/arch/x86/arch/api/vmenter.h).
const VM_ENTER: &[(&str, &str)] = &[
    ("RESULT_NOTIFICATION", "SEL4_VMENTER_RESULT_NOTIF"),
    ("RESULT_FAULT", "SEL4_VMENTER_RESULT_FAULT"),
    ("CALL_RIP", "SEL4_VMENTER_CALL_EIP_MR"),
    ("CALL_PRIMARY_CONTROLS", "SEL4_VMENTER_CALL_CONTROL_PPC_MR"),
    ("CALL_INTERRUPT_INFO", "SEL4_VMENTER_CALL_CONTROL_ENTRY_MR"),
    ("CALL_TIMER", "SEL4_VMENTER_CALL_TIMER_MR"),
    ("SET_TIMER", "SEL4_VMENTER_SET_TIMER"),
    ("TIMER_SHIFT", "SEL4_VMENTER_TIMER_SHIFT"),
    ("FAULT_REASON", "SEL4_VMENTER_FAULT_REASON_MR"),
    ("FAULT_QUALIFICATION", "SEL4_VMENTER_FAULT_QUALIFICATION_MR"),
    ("FAULT_INSTRUCTION_LENGTH", "SEL4_VMENTER_FAULT_INSTRUCTION_LEN_MR"),
    ("FAULT_GUEST_PHYSICAL", "SEL4_VMENTER_FAULT_GUEST_PHYSICAL_MR"),
    ("FAULT_RFLAGS", "SEL4_VMENTER_FAULT_RFLAGS_MR"),
    ("FAULT_GUEST_INTERRUPTIBILITY", "SEL4_VMENTER_FAULT_GUEST_INT_MR"),
    ("FAULT_CR3", "SEL4_VMENTER_FAULT_CR3_MR"),
    ("FAULT_REGISTERS", "SEL4_VMENTER_FAULT_EAX"),
];

/// What include/arch/x86/arch/object/vcpu_pmu.h defines.
const PMU: &[(&str, &str)] = &[
    ("MODE_OFF", "PMU_MODE_OFF"),
    ("MODE_TRAPPED", "PMU_MODE_TRAPPED"),
    ("MODE_DIRECT", "PMU_MODE_DIRECT"),
    ("MODE_RAW", "PMU_MODE_RAW"),
    ("FLAG_SAVE_GLOBAL_CTRL", "PMU_FLAG_SAVE_GLOBAL_CTRL"),
    ("GEOMETRY_WORDS", "PMU_GEOMETRY_WORDS"),
    ("GUEST_CONTROL_WORDS", "PMU_GUEST_CONTROL_WORDS"),
    ("PAIRS", "PMU_PAIRS"),
    ("WAYS", "PMU_WAYS"),
    ("COMPLETED_MR", "PMU_COMPLETED_MR"),
    ("COMPLETED_INSTRUCTION", "PMU_COMPLETED_INSTRUCTION"),
    ("COMPLETED_BRANCH", "PMU_COMPLETED_BRANCH"),
    ("VECTOR", "int_pmi"),
];

/// Writes the Rust source of `sel4_abi::numbers` for the kernel that `step` has built.
pub fn write(step: &Step<'_>, file: &Path) -> Result<(), Error> {
    let modules = modules(step)?;
    let values = evaluate(step, &modules)?;
    fs::write(file, print(&modules, &values)?).map_err(Error::io(file))?;
    run("rustfmt", std::process::Command::new("rustfmt").args(["--edition", "2024"]).arg(file))
}

fn modules(step: &Step<'_>) -> Result<Vec<Module>, Error> {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(rust, c)| ((*rust).to_owned(), (*c).to_owned())).collect()
    };
    let each = |names: &[&str], c: &dyn Fn(&str) -> String| -> Vec<(String, String)> {
        names.iter().map(|name| (screaming(name), c(name))).collect()
    };
    let syscalls = enumerators(step, "api/syscall.h", "enum syscall {")?;
    let mut labels = enumerators(step, "api/invocation.h", "enum invocation_label {")?;
    labels.extend(enumerators(step, "arch/api/invocation.h", "enum sel4_arch_invocation_label {")?);
    labels.extend(enumerators(step, "arch/api/invocation.h", "enum arch_invocation_label {")?);
    let module = |name, doc, kind, entries| Module { name, doc, kind, entries };
    Ok(vec![
        module(
            "syscall",
            "System calls.",
            "i64",
            syscalls.iter().map(|c| (screaming(&c[3..]), c.clone())).collect(),
        ),
        module(
            "label",
            "Labels of invocations.",
            "u64",
            labels.iter().map(|c| (screaming(c), c.clone())).collect(),
        ),
        module("object", "Object types, for `UntypedRetype`.", "u64", pairs(OBJECTS)),
        module("size_bits", "Sizes of objects, as powers of two.", "u8", pairs(SIZE_BITS)),
        module("slot", "Capabilities in the root task's CNode.", "u64", pairs(SLOTS)),
        module("error", "Errors of invocations.", "u64", each(ERRORS, &|name| format!("seL4_{name}"))),
        module("fault", "Labels of fault messages.", "u64", pairs(FAULTS)),
        module("limit", "Sizes and limits.", "usize", pairs(LIMITS)),
        module(
            "thread_register",
            "Positions in `TCBReadRegisters` and `TCBWriteRegisters`.",
            "usize",
            thread_registers(step)?,
        ),
        module(
            "guest_register",
            "Positions in `X86VCPUWriteRegisters`.",
            "usize",
            each(GUEST_REGISTERS, &|name| format!("VCPU_{name}")),
        ),
        module("vm_enter", "Message registers of `VMEnter`.", "usize", pairs(VM_ENTER)),
        module("pmu", "The PMU extension.", "u64", pairs(PMU)),
    ])
}

/// Positions in the kernel's arrays of registers, which stand in no header.
fn thread_registers(step: &Step<'_>) -> Result<Vec<(String, String)>, Error> {
    let file = step.tree.join(THREAD_REGISTER_FILE);
    let text = fs::read_to_string(&file).map_err(Error::io(&file))?;
    let mut names = Vec::new();
    for array in THREAD_REGISTER_ARRAYS {
        let missing = || Error::Abi(format!("{THREAD_REGISTER_FILE} has no `{array}`"));
        let body = text.split_once(array).and_then(|(_, rest)| rest.split_once('}')).ok_or_else(missing)?.0;
        names.extend(body.split(',').map(|name| screaming(name.trim())).filter(|name| !name.is_empty()));
    }
    Ok(names.into_iter().enumerate().map(|(position, name)| (name, position.to_string())).collect())
}

/// The names in an enum of a generated header, in this configuration.
fn enumerators(step: &Step<'_>, header: &str, start: &str) -> Result<Vec<String>, Error> {
    let probe = step.out.join("enumerators.c");
    fs::write(&probe, format!("#include <config.h>\n#include <{header}>\n")).map_err(Error::io(&probe))?;
    let text = output("cpp", step.cpp().arg("-P").arg(&probe))?;
    let missing = || Error::Abi(format!("{header} has no `{start}`"));
    let body = text.split_once(start).and_then(|(_, rest)| rest.split_once('}')).ok_or_else(missing)?.0;
    Ok(body
        .split(',')
        .map(|entry| entry.split('=').next().unwrap_or_default().trim().to_owned())
        .filter(|name| !name.is_empty())
        .filter(|name| !(name.starts_with('n') && name.ends_with("Labels")))
        .collect())
}

/// Lets the compiler print each expression as a constant of an assembly file.
fn evaluate(step: &Step<'_>, modules: &[Module]) -> Result<Vec<Vec<i64>>, Error> {
    let mut probe = String::new();
    for header in HEADERS {
        let _ = writeln!(probe, "#include <{header}>");
    }
    probe += "void abi_probe(void);\nvoid abi_probe(void) {\n";
    for (m, module) in modules.iter().enumerate() {
        for (e, (_, c)) in module.entries.iter().enumerate() {
            let _ =
                writeln!(probe, "asm volatile(\".ascii \\\"abi {m} {e} %c0\\\"\" :: \"i\"((long)({c})));");
        }
    }
    probe += "}\n";
    let file = step.out.join("probe.c");
    fs::write(&file, probe).map_err(Error::io(&file))?;
    let text = output("gcc probe.c", step.gcc().args(["-Wno-error", "-S", "-o", "-"]).arg(&file))?;
    let mut values: Vec<Vec<i64>> = modules.iter().map(|m| vec![0; m.entries.len()]).collect();
    let mut found = 0;
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(".ascii \"abi ") else { continue };
        let numbers: Vec<i64> =
            rest.trim_end_matches('"').split(' ').filter_map(|word| word.parse().ok()).collect();
        let [m, e, value] = numbers[..] else {
            return Err(Error::Abi(format!("the compiler printed `{line}`")));
        };
        let place = usize::try_from(m).ok().zip(usize::try_from(e).ok());
        let cell = place.and_then(|(m, e)| values.get_mut(m)?.get_mut(e));
        *cell.ok_or_else(|| Error::Abi(format!("the compiler printed `{line}`")))? = value;
        found += 1;
    }
    let wanted: usize = modules.iter().map(|m| m.entries.len()).sum();
    if found == wanted { Ok(values) } else { Err(Error::Abi(format!("{found} of {wanted} values found"))) }
}

fn print(modules: &[Module], values: &[Vec<i64>]) -> Result<String, Error> {
    let mut text = String::from(
        "//! Numbers that user level shares with the bundled kernel, generated from the kernel's build by\n\
         //! `cargo xtask kernel --abi`; do not edit.\n#![allow(missing_docs)]\n",
    );
    for (module, values) in modules.iter().zip(values) {
        let _ = writeln!(text, "\n/// {}\npub mod {} {{", module.doc, module.name);
        for ((rust, c), value) in module.entries.iter().zip(values) {
            if *value < 0 && module.kind != "i64" {
                return Err(Error::Abi(format!("{c} is {value}")));
            }
            let _ = writeln!(text, "pub const {rust}: {} = {value};", module.kind);
        }
        text += "}\n";
    }
    Ok(text)
}

/// `X86VCPUReadVMCS` becomes `X86_VCPU_READ_VMCS`.
fn screaming(name: &str) -> String {
    let letters: Vec<char> = name.replace("CNode", "Cnode").chars().collect();
    let mut text = String::new();
    for (i, &c) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|j| letters[j]);
        let after = letters.get(i + 1);
        let starts_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || (b.is_ascii_digit() && after.is_some())
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts_word {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::screaming;

    #[test]
    fn words_are_separated() {
        assert_eq!(screaming("UntypedRetype"), "UNTYPED_RETYPE");
        assert_eq!(screaming("X86VCPUReadVMCS"), "X86_VCPU_READ_VMCS");
        assert_eq!(screaming("TCBSetEPTRoot"), "TCB_SET_EPT_ROOT");
        assert_eq!(screaming("NBSend"), "NB_SEND");
        assert_eq!(screaming("CNodeCopy"), "CNODE_COPY");
    }
}
