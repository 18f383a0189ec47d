//! Every message decodes to what it was, or to a named error.
#![allow(clippy::unwrap_used)]

use pmu_api::*;

fn chunk() -> Chunk {
    Chunk::new(3, 4, [1, 2, 3, 4, 5, 6, u64::MAX]).unwrap()
}

fn requests() -> Vec<Request> {
    let mut requests = vec![
        Request::Open,
        Request::Read { msr: 0x186 },
        Request::Read { msr: u32::MAX },
        Request::Write { msr: 0x38F, value: u64::MAX },
        Request::Overflow,
        Request::Save { index: 0 },
        Request::Save { index: MAX_CHUNKS - 1 },
        Request::Restore(chunk()),
        Request::Statistics { first: u64::MAX },
        Request::ReplaceFilter { vm: 7 },
        Request::Account { completed: None },
    ];
    for (branch, user) in [(false, false), (false, true), (true, false), (true, true)] {
        requests.push(Request::Account { completed: Some(Completion { branch, user }) });
    }
    for cpl in 0..4 {
        for (pe, pce) in [(false, false), (false, true), (true, false), (true, true)] {
            requests.push(Request::Rdpmc { index: 0x4000_0000, privilege: Privilege::new(cpl, pe, pce) });
        }
    }
    requests
}

fn configuration() -> Configuration {
    Configuration {
        mode: Mode::Mediated,
        direct: Direct::RDPMC | Direct::GLOBAL,
        leaf_a: [0x0830_0805, 0x18, 0xF, 0x8604],
        perf_capabilities: 1 << 13,
        pdcm: true,
        report_overflow: true,
    }
}

fn replies() -> Vec<Reply> {
    let mut replies = vec![
        Reply::Opened(configuration()),
        Reply::Opened(Configuration {
            mode: Mode::Off,
            direct: Direct::empty(),
            leaf_a: [0; 4],
            perf_capabilities: 0,
            pdcm: false,
            report_overflow: false,
        }),
        Reply::Value { value: 0 },
        Reply::Value { value: u64::MAX },
        Reply::Done,
        Reply::ValueWithPmi { value: 0 },
        Reply::DoneWithPmi,
        Reply::Fault,
        Reply::Overflow(OverflowDecision::Deliver),
        Reply::Overflow(OverflowDecision::Delay { cycles: 0 }),
        Reply::Overflow(OverflowDecision::Delay { cycles: 99 }),
        Reply::Overflow(OverflowDecision::Spurious),
        Reply::Saved(chunk()),
        Reply::Restoring { next: 1 },
        Reply::Restored,
        Reply::Statistics { values: [0; CHUNK_WORDS] },
        Reply::Replaced,
        Reply::Malformed(Malformed::Version { label: 0 }),
        Reply::Malformed(Malformed::Operation { code: 0xFF }),
        Reply::Malformed(Malformed::Length { expected: 2, found: 120 }),
        Reply::Malformed(Malformed::Word { index: 0 }),
    ];
    replies.extend(UnavailableReason::ALL.iter().map(|&r| Reply::Refused(Refusal::Unavailable(r))));
    replies.extend(SnapshotReason::ALL.iter().map(|&r| Reply::Refused(Refusal::Snapshot(r))));
    replies.extend(FilterReason::ALL.iter().map(|&r| Reply::Refused(Refusal::Filter(r))));
    replies.extend(
        [
            Refusal::Chunk,
            Refusal::Statistic,
            Refusal::NotManager,
            Refusal::NotVmm,
            Refusal::Port { error: 0 },
        ]
        .map(Reply::Refused),
    );
    replies
}

#[test]
fn requests_and_replies_survive_the_wire() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for reply in replies() {
        assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
    }
}

/// A reply is never all zeros: its label has the version, and its words have a 1 somewhere.
#[test]
fn no_reply_is_all_zeros() {
    for reply in replies() {
        let message = reply.encode();
        assert_ne!(message.label(), 0);
        assert!(message.words().iter().any(|&word| word != 0), "{reply:?}");
    }
}

/// No request is a reply, and no reply a request.
#[test]
fn directions_do_not_mix() {
    for request in requests() {
        assert!(matches!(Reply::decode(&request.encode()), Err(Malformed::Operation { .. })));
    }
    for reply in replies() {
        assert!(matches!(Request::decode(&reply.encode()), Err(Malformed::Operation { .. })));
    }
}

/// Every length that an operation does not take is refused with both lengths.
#[test]
fn lengths_are_exact() {
    for message in requests().iter().map(Request::encode).chain(replies().iter().map(Reply::encode)) {
        for length in (0..=12_usize).filter(|&length| length != message.words().len()) {
            let words: Vec<u64> = message.words().iter().copied().chain([0; 12]).take(length).collect();
            let changed = Message::received(message.label(), &words);
            let error = Malformed::Length { expected: message.words().len() as u64, found: length as u64 };
            let wrong_direction = Malformed::Operation { code: message.label() & 0xFF };
            let mut results = [Request::decode(&changed).err(), Reply::decode(&changed).err()];
            results.sort_by_key(|result| *result == Some(wrong_direction));
            assert_eq!(results, [Some(error), Some(wrong_direction)]);
        }
    }
}

#[test]
fn labels_are_exact() {
    let known: Vec<u64> = Operation::ALL.iter().map(|op| op.code()).collect();
    let codes: Vec<u64> = ReplyCode::ALL.iter().map(|code| code.code()).collect();
    for label in 0..=0xFFFF_u64 {
        let message = Message::received(label, &[]);
        let (version, code) = (label >> 8, label & 0xFF);
        let (request, reply) = (Request::decode(&message), Reply::decode(&message));
        if version != VERSION {
            assert_eq!(
                (request, reply),
                (Err(Malformed::Version { label }), Err(Malformed::Version { label }))
            );
            continue;
        }
        assert_eq!(request == Err(Malformed::Operation { code }), !known.contains(&code));
        assert_eq!(reply == Err(Malformed::Operation { code }), !codes.contains(&code));
    }
    for label in [1 << 16 | 0x101, 1 << 51 | 0x101, u64::MAX] {
        assert_eq!(Request::decode(&Message::received(label, &[])), Err(Malformed::Version { label }));
    }
}

/// Words out of range, by index.
#[test]
fn words_are_in_range() {
    let word = |operation: Operation, words: &[u64], index| {
        let message = Message::received(VERSION << 8 | operation.code(), words);
        assert_eq!(Request::decode(&message), Err(Malformed::Word { index }), "{operation:?} {words:?}");
    };
    word(Operation::Read, &[1 << 32], 0);
    word(Operation::Write, &[1 << 63, 0], 0);
    word(Operation::Rdpmc, &[1 << 32, 0], 0);
    for bit in 4..64 {
        word(Operation::Rdpmc, &[0, 1 << bit], 1);
    }
    word(Operation::Save, &[MAX_CHUNKS], 0);
    word(Operation::ReplaceFilter, &[1 << 32], 0);
    for first in [0, 0x0404, 0x0405, 0x0B00, 0x0400 | 1 << 16, 0x0A0A, 1 << 63 | 0x0401] {
        word(Operation::Restore, &[first, 0, 0, 0, 0, 0, 0, 0], 0);
    }
    let reply = |code: ReplyCode, words: &[u64], index| {
        let message = Message::received(VERSION << 8 | code.code(), words);
        assert_eq!(Reply::decode(&message), Err(Malformed::Word { index }), "{code:?} {words:?}");
    };
    reply(ReplyCode::Value, &[0, 5], 0);
    reply(ReplyCode::Value, &[2, 5], 0);
    reply(ReplyCode::Done, &[0], 0);
    reply(ReplyCode::ValueWithPmi, &[0, 5], 0);
    reply(ReplyCode::ValueWithPmi, &[3, 5], 0);
    reply(ReplyCode::DoneWithPmi, &[2], 0);
    reply(ReplyCode::Fault, &[14], 0);
    reply(ReplyCode::Overflow, &[0, 0], 0);
    reply(ReplyCode::Overflow, &[4, 0], 0);
    reply(ReplyCode::Overflow, &[1, 1], 1);
    reply(ReplyCode::Overflow, &[3, 1], 1);
    reply(ReplyCode::Restoring, &[0], 0);
    reply(ReplyCode::Restored, &[0], 0);
    reply(ReplyCode::Replaced, &[2], 0);
    reply(ReplyCode::Statistics, &[0, 0, 0, 0, 0, 0, 0, 0], 0);
    reply(ReplyCode::Saved, &[0, 0, 0, 0, 0, 0, 0, 0], 0);
    for (words, index) in [
        ([0, 0], 0),
        ([9, 0], 0),
        ([1, 0], 1),
        ([1, 6], 1),
        ([2, 7], 1),
        ([3, 5], 1),
        ([4, 1], 1),
        ([7, 1], 1),
    ] {
        reply(ReplyCode::Refused, &words, index);
    }
    for (words, index) in [([0, 0, 0], 0), ([5, 0, 0], 0), ([1, 0, 1], 2), ([2, 0, 1], 2), ([4, 0, 1], 2)] {
        reply(ReplyCode::Malformed, &words, index);
    }
    let good = Reply::Opened(configuration()).encode();
    for first in [0, 5, 1 << 14 | 2, 1 << 15 | 2, 1 << 18 | 2, 1 << 63 | 2] {
        reply(ReplyCode::Opened, &[first, 0, 0, 0], 0);
    }
    let no_pdcm = good.words()[0] & !(1 << 16);
    reply(ReplyCode::Opened, &[no_pdcm, 0, 0, 1 << 13], 3);
}

/// The places of the fields, by their documentation.
#[test]
fn words_are_as_documented() {
    let words = |request: Request| request.encode().words().to_vec();
    assert_eq!(words(Request::Write { msr: 0x186, value: 7 }), [0x186, 7]);
    let privilege = Privilege::new(3, true, false);
    assert_eq!(words(Request::Rdpmc { index: 5, privilege }), [5, 0b0111]);
    let privilege = Privilege::new(1, false, true);
    assert_eq!(words(Request::Rdpmc { index: 5, privilege }), [5, 0b1001]);
    assert_eq!(words(Request::Restore(chunk())), [0x0403, 1, 2, 3, 4, 5, 6, u64::MAX]);
    assert_eq!(Request::Write { msr: 0, value: 0 }.encode().label(), 0x0103);
    let words = |reply: Reply| reply.encode().words().to_vec();
    let first = 2 | 0b1_1000 << 8 | 1 << 16 | 1 << 17;
    let expected = [first, 0x18_0830_0805, 0x8604_0000_000F, 1 << 13];
    assert_eq!(words(Reply::Opened(configuration())), expected);
    assert_eq!(words(Reply::Fault), [13]);
    assert_eq!(words(Reply::Refused(Refusal::Port { error: 4 })), [8, 4]);
    assert_eq!(Privilege::new(7, true, true).cpl(), 3);
}

#[test]
fn chunks_have_a_place() {
    assert_eq!(MAX_CHUNKS, 10);
    for total in 0..20 {
        for index in 0..20 {
            let exists = Chunk::new(index, total, [0; CHUNK_WORDS]).is_some();
            assert_eq!(exists, index < total && total <= 10);
        }
    }
    assert!(chunk().is_last());
    assert!(!Chunk::new(2, 4, [0; CHUNK_WORDS]).unwrap().is_last());
}

#[test]
fn the_statistics_are_in_order() {
    for (i, statistic) in Statistic::ALL.iter().enumerate() {
        assert_eq!(statistic.code(), i as u64);
    }
    assert_eq!(STATISTICS, 20);
}
