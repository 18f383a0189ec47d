//! The memory functions that compiled code calls.

/// Copies upwards.
///
/// # Safety
/// As the C function: both ranges are valid and do not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    core::arch::naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// Copies in the direction in which no byte is overwritten before it is read.
///
/// # Safety
/// As the C function: both ranges are valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    core::arch::naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "cmp rdi, rsi",
        "jbe 2f",
        "lea rdi, [rdi + rcx - 1]",
        "lea rsi, [rsi + rcx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
        "2: rep movsb",
        "ret",
    )
}

/// Fills.
///
/// # Safety
/// As the C function: the range is valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    core::arch::naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

/// Compares.
///
/// # Safety
/// As the C function: both ranges are valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    core::arch::naked_asm!(
        "xor eax, eax",
        "mov rcx, rdx",
        "cmp rcx, rcx",
        "repe cmpsb",
        "je 2f",
        "movzx eax, byte ptr [rdi - 1]",
        "movzx ecx, byte ptr [rsi - 1]",
        "sub eax, ecx",
        "2: ret",
    )
}

/// Compares for equality.
///
/// # Safety
/// As the POSIX function: the range is valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    core::arch::naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// Bytes before the 0.
///
/// # Safety
/// As the C function: there is a 0.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    core::arch::naked_asm!(
        "xor eax, eax",
        "lea rcx, [rax - 1]",
        "repne scasb",
        "mov rax, rcx",
        "not rax",
        "dec rax",
        "ret"
    )
}
