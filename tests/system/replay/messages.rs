//! Sends the policy domain a million random and mutated messages. Each must be answered by a reply of the protocol
//! that calls it malformed exactly if it is, or refuses it where there is no VM.

#![no_std]
#![no_main]

use pmu_api::{Chunk, Message, Privilege, Reply, Request};
use sel4_microkit::{
    Channel, Handler, MessageInfo, NullHandler, debug_println, protection_domain, with_msg_regs,
    with_msg_regs_mut,
};

const MESSAGES: u64 = 1_000_000;

/// The VM's channel (most often), the manager's, and one without a VM.
const CHANNELS: [usize; 6] = [1, 1, 1, 1, 9, STRANGER];
/// On this channel everything is refused, whatever it says.
const STRANGER: usize = 2;

/// Words of the longest message that is sent: more than the protocol has.
const LONGEST: usize = 12;

/// Chunks of a snapshot.
const CHUNKS: u64 = 4;

/// Xorshift (Marsaglia), with a fixed seed: every run sends the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or(0)
    }

    /// A word that is small, near the edge of a field, or anything.
    fn word(&mut self) -> u64 {
        let shift = self.below(64);
        match self.below(4) {
            0 => self.below(0x500),
            1 => 1 << shift,
            2 => (1_u64 << shift).wrapping_sub(1),
            _ => self.next(),
        }
    }

    fn msr(&mut self) -> u32 {
        const BASES: [u32; 8] = [0xb8, 0x180, 0x300, 0x380, 0x4b8, 0x4c0, 0x1a0, 0x3f0];
        BASES[self.index(BASES.len())] + self.next().to_le_bytes().map(u32::from)[3] % 0x18
    }
}

/// A message that is not yet one of the protocol.
struct Raw {
    label: u64,
    words: [u64; LONGEST],
    count: usize,
}

struct Client {
    random: Random,
    chunk: Option<Chunk>,
    malformed: u64,
    refused: u64,
    done: u64,
}

#[protection_domain(stack_size = 0x10000)]
fn init() -> impl Handler {
    let mut client =
        Client { random: Random(0x9e37_79b9_7f4a_7c15), chunk: None, malformed: 0, refused: 0, done: 0 };
    for _ in 0..MESSAGES {
        let raw = client.choose();
        client.send(&raw);
    }
    let Client { malformed, refused, done, .. } = client;
    // Each kind must have been sent, or the messages show nothing.
    let least = malformed.min(refused).min(done);
    assert!(least > MESSAGES / 10, "{malformed} malformed, {refused} refused, {done} done");
    debug_println!(
        "messages: {MESSAGES} sent, {malformed} malformed, {refused} refused, {done} done: passed"
    );
    NullHandler::new()
}

impl Client {
    /// A valid message, one with a few words changed, or a random one.
    fn choose(&mut self) -> Raw {
        let random = &mut self.random;
        if random.below(8) == 0 {
            let mut words = [0; LONGEST];
            words.iter_mut().for_each(|word| *word = random.word());
            return Raw { label: random.below(0x400), words, count: random.index(LONGEST + 1) };
        }
        let message = self.request().encode();
        let mut raw = Raw { label: message.label(), words: [0; LONGEST], count: message.words().len() };
        raw.words.iter_mut().zip(message.words()).for_each(|(to, from)| *to = *from);
        let random = &mut self.random;
        for _ in 0..random.below(3) {
            match random.below(8) {
                0 => raw.label ^= 1 << random.below(16),
                1 => raw.count = random.index(LONGEST + 1),
                2 | 3 => raw.words[random.index(LONGEST)] ^= 1 << random.below(64),
                _ => raw.words[random.index(pmu_api::MAX_WORDS)] = random.word(),
            }
        }
        raw
    }

    fn request(&mut self) -> Request {
        let random = &mut self.random;
        let msr = random.msr();
        match random.below(20) {
            0 => Request::Open,
            1..=6 => Request::Read { msr },
            7..=12 => Request::Write { msr, value: random.word() },
            13 | 14 => Request::Rdpmc { index: msr & 0x4000_000f, privilege: Privilege::new(3, true, true) },
            15 => Request::Overflow,
            16 => Request::ReplaceFilter { vm: 0 },
            17 => match self.chunk {
                Some(chunk) => Request::Restore(chunk),
                None => Request::Statistics { first: 0 },
            },
            18 => Request::Statistics { first: 0 },
            _ => Request::Save { index: random.below(CHUNKS) },
        }
    }

    fn send(&mut self, raw: &Raw) {
        let channel = CHANNELS[self.random.index(CHANNELS.len())];
        let words = &raw.words[..raw.count];
        with_msg_regs_mut(|registers| registers[..raw.count].copy_from_slice(words));
        let info = Channel::new(channel).pp_call(MessageInfo::new(raw.label, raw.count));
        let reply = with_msg_regs(|registers| {
            Message::received(info.label(), registers.get(..info.count()).unwrap_or(registers))
        });
        let valid = Request::decode(&Message::received(raw.label, words)).is_ok();
        match Reply::decode(&reply) {
            Ok(Reply::Refused(_)) if channel == STRANGER => self.refused += 1,
            Ok(reply) if channel == STRANGER => panic!("a channel without a VM is answered by {reply:?}"),
            Ok(Reply::Malformed(_)) if !valid => self.malformed += 1,
            Ok(Reply::Malformed(error)) => {
                panic!("{:#x} {words:x?} is called malformed: {error:?}", raw.label)
            }
            Ok(_) if !valid => panic!("{:#x} {words:x?} is not called malformed", raw.label),
            Ok(Reply::Saved(chunk)) => self.chunk = Some(chunk),
            Ok(Reply::Refused(_) | Reply::Fault) => self.refused += 1,
            Ok(_) => self.done += 1,
            Err(error) => panic!("{:#x} {words:x?} is answered by {error:?}", raw.label),
        }
    }
}
