//! A hostile VMM: every one-word change of every valid message, and random messages. The domain answers each with a
//! valid reply and never lets a value reach the hardware that the policy forbids.
//!
//! `PROTOCOL_MESSAGES=10000000` sets how many random messages are sent.
#![allow(clippy::unwrap_used)]

mod common;

use common::Random;
use pmu_api::*;
use pmu_core::{Domain, KernelMode, PmuPort, PortError, RawGeometry, RegionCells};
use std::sync::atomic::AtomicU64;

/// A context that checks each value that would reach the hardware against the policy of these tests: of the
/// architectural events only instructions and cycles may count, fixed counter 0 alone.
#[derive(Debug)]
struct Guarded {
    registers: [u64; 0x4D0],
}

const PERMITTED: [u64; 2] = [0x00C0, 0x003C];

impl PmuPort for Guarded {
    fn geometry(&mut self) -> Result<RawGeometry, PortError> {
        let leaf_a = [5 | 8 << 8 | 48 << 16 | 8 << 24, 0, 0xF, 4 | 48 << 5 | 1 << 15];
        Ok(RawGeometry {
            leaf_a,
            perf_capabilities: 1 << 13,
            flags: RawGeometry::SAVES_GLOBAL_CONTROL | RawGeometry::USABLE,
        })
    }

    fn set_mode(&mut self, mode: KernelMode) -> Result<(), PortError> {
        assert!(matches!(mode, KernelMode::Off | KernelMode::Direct));
        Ok(())
    }

    fn read(&mut self, msr: u32) -> Result<u64, PortError> {
        assert!(matches!(msr, 0x309..=0x30C | 0x38E | 0x38F | 0x4C1..=0x4C8), "{msr:#x}");
        Ok(self.registers[msr as usize])
    }

    fn write(&mut self, msr: u32, value: u64) -> Result<(), PortError> {
        let forbidden = match msr {
            0x186..=0x18D => {
                assert!(value >> 22 & 1 == 0 || PERMITTED.contains(&(value & 0xFFFF)), "{value:#x} counts");
                0xFFFF_FFFF_0020_0000
            }
            0x38D => !0xB,
            0x38E | 0x38F => !0xF_0000_00FF,
            0x309..=0x30C | 0x4C1..=0x4C8 => !0xFFFF_FFFF_FFFF,
            _ => panic!("{msr:#x}"),
        };
        assert_eq!(value & forbidden, 0, "{msr:#x} = {value:#x}");
        self.registers[msr as usize] = value;
        Ok(())
    }
}

const POLICY: &str = "manager_channel = 9\n[[vm]]\nname = \"a\"\nchannel = 1\n[vm.filter]\naction = \"allow\"\n\
                      events = [\"instructions\", \"core-cycles\"]\nfixed = [0]\n\
                      [[vm]]\nname = \"b\"\nchannel = 2\n[vm.filter]\naction = \"allow\"\n\
                      events = [\"instructions\"]\nfixed = []\n";

fn domain() -> Domain<'static, Guarded> {
    let words = pmu_policy::compile(POLICY).unwrap().words;
    let region: &[AtomicU64] = words.into_iter().map(AtomicU64::new).collect::<Vec<_>>().leak();
    let cells = Box::leak(Box::new(RegionCells::new()));
    Domain::new(region, region, cells, |_| Guarded { registers: [0; 0x4D0] })
}

fn valid_messages(domain: &mut Domain<'_, Guarded>) -> Vec<Message> {
    let privilege = Privilege::new(3, true, true);
    let mut requests = vec![
        Request::Open,
        Request::Read { msr: 0x186 },
        Request::Read { msr: 0x38E },
        Request::Write { msr: 0x187, value: 0x53_00C0 },
        Request::Write { msr: 0x38D, value: 0xBBBB },
        Request::Write { msr: 0x38F, value: 0xF_0000_00FF },
        Request::Write { msr: 0x390, value: 1 },
        Request::Write { msr: 0xC1, value: 0xFFFF_FFFF },
        Request::Write { msr: 0x4C8, value: 5 },
        Request::Write { msr: 0x30C, value: 5 },
        Request::Rdpmc { index: 0x4000_0001, privilege },
        Request::Overflow,
        Request::Statistics { first: 3 },
        Request::ReplaceFilter { vm: 1 },
    ];
    for index in 0..4 {
        requests.push(Request::Save { index });
        let reply = Reply::decode(&domain.handle(1, &Request::Save { index }.encode(), 0)).unwrap();
        let Reply::Saved(chunk) = reply else { panic!("{reply:?}") };
        requests.push(Request::Restore(chunk));
    }
    requests.iter().map(Request::encode).collect()
}

/// Sends a message; the answer must be of the protocol and not all zeros.
fn send(domain: &mut Domain<'_, Guarded>, channel: u8, message: &Message, now: u64) -> Reply {
    let reply = domain.handle(channel, message, now);
    assert!(reply.label() != 0 && reply.words().iter().any(|&word| word != 0));
    let reply = Reply::decode(&reply).unwrap();
    assert_eq!(matches!(reply, Reply::Malformed(_)), Request::decode(message).is_err() && channel != 61);
    reply
}

/// Values that lie at the edges of every field.
fn edges(word: u64) -> Vec<u64> {
    let bits = (0..64).flat_map(|bit| [word ^ 1 << bit, 1 << bit, (1_u64 << bit).wrapping_sub(1)]);
    let near = (0..=16).flat_map(|d| [word.wrapping_add(d), word.wrapping_sub(d)]);
    let registers = (0xB0..0xD0).chain(0x180..0x1B0).chain(0x300..0x400).chain(0x4B0..0x4D0);
    bits.chain(near).chain(registers).chain([u64::MAX, 0x600, 0x1D9]).collect()
}

#[test]
fn every_one_word_change_is_answered() {
    let mut domain = domain();
    let mut sent = 0;
    for message in valid_messages(&mut domain) {
        for channel in [1, 2, 9, 61] {
            send(&mut domain, channel, &message, sent);
            for label in edges(message.label()) {
                send(&mut domain, channel, &Message::received(label, message.words()), sent);
                sent += 1;
            }
            for i in 0..message.words().len() {
                for value in edges(message.words()[i]) {
                    let mut words = message.words().to_vec();
                    words[i] = value;
                    send(&mut domain, channel, &Message::received(message.label(), &words), sent);
                    sent += 1;
                }
            }
            for length in 0..=120 {
                let words = vec![message.words().first().copied().unwrap_or(1); length];
                send(&mut domain, channel, &Message::received(message.label(), &words), sent);
            }
        }
    }
    assert!(sent > 100_000, "{sent}");
    println!("{sent} changed messages answered");
}

#[test]
fn random_messages_are_answered() {
    let count = std::env::var("PROTOCOL_MESSAGES").map_or(300_000, |n| n.parse().unwrap());
    let mut domain = domain();
    let valid = valid_messages(&mut domain);
    let mut random = Random::new(20_261_122);
    let mut kinds = [0_u64; 4];
    for now in 0..count {
        let channel = [1, 1, 2, 9][random.index(4)];
        let message = match random.below(4) {
            // Nothing but noise.
            0 => {
                let words: Vec<u64> = (0..random.index(10)).map(|_| random.next()).collect();
                Message::received(random.next(), &words)
            }
            // The right version, any operation, small words.
            1 => {
                let words: Vec<u64> =
                    (0..random.index(9)).map(|_| random.next() >> random.below(64)).collect();
                Message::received(0x100 | random.below(0x30), &words)
            }
            // A control write with any value.
            2 => Request::Write {
                msr: [0x186, 0x18D, 0x38D, 0x38F, 0x390, 0x391, 0xC1, 0x4C1][random.index(8)],
                value: random.next() >> random.below(64),
            }
            .encode(),
            // A valid message with one word changed.
            _ => {
                let message = valid[random.index(valid.len())];
                let mut words = message.words().to_vec();
                if let Some(last) = words.len().checked_sub(1) {
                    words[random.index(last + 1)] ^= 1 << random.below(64);
                }
                Message::received(message.label(), &words)
            }
        };
        kinds[match send(&mut domain, channel, &message, now) {
            Reply::Malformed(_) => 0,
            Reply::Refused(_) => 1,
            Reply::Fault => 2,
            _ => 3,
        }] += 1;
    }
    println!(
        "{count} messages: {} malformed, {} refused, {} faults, {} done",
        kinds[0], kinds[1], kinds[2], kinds[3]
    );
    assert!(kinds.iter().all(|&n| n > count / 100), "{kinds:?}: every kind of answer must occur");
}
