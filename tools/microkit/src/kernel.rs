//! This thread's access to the kernel, and messages as upstream has them: all words in the IPC buffer.

use crate::slots::{BASE_VCPU_PMU, FAULTS, INPUT, MAX_CHANNELS};
use crate::symbols::pd_pmu_channels;
use core::cell::{RefCell, UnsafeCell};
use core::ptr::NonNull;
use sel4_abi::ending::{GONE, LAST_WORDS, LastWords};
use sel4_abi::numbers::limit::{EXTRA_CAPS, MESSAGE_LENGTH};
use sel4_abi::numbers::pmu;
use sel4_abi::{CPtr, Ipc, IpcBuffer, MESSAGE_REGISTERS, MessageInfo, Received};

/// The IPC buffer's page; its own, because the image build maps it apart from the data around it.
#[repr(C, align(4096))]
struct IpcPage(UnsafeCell<IpcBuffer>);

// SAFETY: used only through `IPC`.
unsafe impl Sync for IpcPage {}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)] // Microkit's name
static __sel4_ipc_buffer_obj: IpcPage = IpcPage(UnsafeCell::new(IpcBuffer {
    tag: 0,
    message: [0; MESSAGE_LENGTH],
    user_data: 0,
    caps: [0; EXTRA_CAPS],
    receive_cnode: 0,
    receive_index: 0,
    receive_depth: 0,
}));

struct Access(RefCell<Ipc>);

// SAFETY: a protection domain has one thread.
unsafe impl Sync for Access {}

static IPC: Access = {
    let buffer = NonNull::new(__sel4_ipc_buffer_obj.0.get()).expect("a static's address is not null");
    // SAFETY: the page is the IPC buffer of the only thread, lives for ever, and is used through this value only.
    Access(RefCell::new(unsafe { Ipc::new(buffer) }))
};

/// Keeps the IPC buffer in programs that never use it: the image build maps it in every one.
pub fn keep_ipc_buffer() {
    core::hint::black_box(__sel4_ipc_buffer_obj.0.get());
}

/// Gives `f` the access to the kernel.
///
/// # Panics
/// If called inside another call's `f`.
#[inline(always)]
pub fn with_ipc<T>(f: impl FnOnce(&mut Ipc) -> T) -> T {
    f(&mut IPC.0.borrow_mut())
}

/// The message words that travel in processor registers.
pub type Fast = [u64; MESSAGE_REGISTERS];

fn load(ipc: &Ipc) -> Fast {
    core::array::from_fn(|i| ipc.buffer().message[i])
}

fn store(ipc: &mut Ipc, fast: &Fast) {
    ipc.buffer_mut().message[..MESSAGE_REGISTERS].copy_from_slice(fast);
}

fn received(ipc: &mut Ipc, received: Received) -> (MessageInfo, u64) {
    store(ipc, &received.registers);
    (received.info, received.badge)
}

/// Waits for a message, whose words are then in the message registers.
pub fn recv(slot: CPtr) -> (MessageInfo, u64) {
    with_ipc(|ipc| {
        let message = ipc.recv(slot);
        received(ipc, message)
    })
}

/// Replies with the message registers, then as [`recv`].
pub fn reply_recv(slot: CPtr, info: MessageInfo) -> (MessageInfo, u64) {
    with_ipc(|ipc| {
        let message = ipc.reply_recv(slot, info, load(ipc));
        received(ipc, message)
    })
}

/// Replies with the message registers.
pub fn reply(info: MessageInfo) {
    with_ipc(|ipc| ipc.reply(info, load(ipc)));
}

/// Sends the message registers and waits for the reply, whose words are then there.
pub fn call(slot: CPtr, info: MessageInfo) -> MessageInfo {
    with_ipc(|ipc| {
        let mut fast = load(ipc);
        let reply = ipc.call(slot, info, &mut fast);
        store(ipc, &fast);
        reply
    })
}

/// As [`call`] with the first words in `words` instead of the message registers, and the answer's as well.
#[inline(always)]
pub fn call_short(slot: CPtr, info: MessageInfo, words: &mut Fast) -> MessageInfo {
    with_ipc(|ipc| ipc.call(slot, info, words))
}

/// Signals a notification.
pub fn signal(slot: CPtr) {
    with_ipc(|ipc| ipc.signal(slot));
}

/// Switches off the PMUs that this protection domain has, tells the monitor `text`, then answers whoever waits, and
/// whoever calls later, that it is gone. Returns only where the access to the kernel is in use.
pub fn end(text: &LastWords, is_call: impl Fn(u64) -> bool) {
    let Ok(mut ipc) = IPC.0.try_borrow_mut() else { return };
    switch_pmus_off(&mut ipc);
    let words = text.words();
    // Nothing here can panic.
    ipc.buffer_mut().message.iter_mut().zip(words).for_each(|(to, word)| *to = *word);
    let fast = load(&ipc);
    ipc.send(FAULTS, MessageInfo::new(LAST_WORDS, 0, words.len() as u64), fast);
    answer_gone(&mut ipc, is_call)
}

/// As [`end`], where the monitor knows why, and the access to the kernel may have been in use.
///
/// # Safety
/// Nothing of what the thread did before runs again.
pub unsafe fn end_after_fault(is_call: impl Fn(u64) -> bool) -> ! {
    // SAFETY: who else had borrowed the access never uses it again.
    let ipc = unsafe { &mut *IPC.0.as_ptr() };
    switch_pmus_off(ipc);
    answer_gone(ipc, is_call)
}

fn switch_pmus_off(ipc: &mut Ipc) {
    for channel in (0..MAX_CHANNELS as u64).filter(|channel| pd_pmu_channels() >> channel & 1 != 0) {
        // Mode off is never refused, and nobody is left to tell.
        let _ = ipc.vcpu_pmu_set_mode(BASE_VCPU_PMU + channel, pmu::MODE_OFF);
    }
}

fn answer_gone(ipc: &mut Ipc, is_call: impl Fn(u64) -> bool) -> ! {
    let gone = MessageInfo::new(GONE, 0, 0);
    let mut event = ipc.reply_recv(INPUT, gone, [0; MESSAGE_REGISTERS]);
    loop {
        event = if is_call(event.badge) {
            ipc.reply_recv(INPUT, gone, [0; MESSAGE_REGISTERS])
        } else {
            ipc.recv(INPUT)
        };
    }
}
