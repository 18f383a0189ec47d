//! Any label and words: a request or a named error; what decodes encodes to the same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmu_api::{Message, Reply, Request};

fuzz_target!(|input: (u64, Vec<u64>)| {
    let (label, words) = input;
    // Half of the inputs have the right version, so that they get past the label.
    for label in [label, 0x100 | label & 0xFF] {
        let message = Message::received(label, &words);
        if let Ok(request) = Request::decode(&message) {
            assert_eq!(request.encode(), message);
        }
        if let Ok(reply) = Reply::decode(&message) {
            assert_eq!(reply.encode(), message);
            assert!(words.iter().any(|&word| word != 0));
        }
    }
});
