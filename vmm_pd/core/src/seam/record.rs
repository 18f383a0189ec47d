//! Recording.

use super::{Event, Kind, words};
use crate::arch::Field;
use crate::pmu::PmuLink;
use crate::switched::Switched;
use crate::vcpu::{Entry, Memory, Return, Vcpu};
use core::cell::RefCell;
use pmu_api::Message;

/// A virtual CPU, or a link to the policy domain, of which `sink` sees every event.
#[derive(Debug)]
pub struct Recorder<T, S> {
    inner: T,
    sink: RefCell<S>,
}

impl<T, S: FnMut(&Event)> Recorder<T, S> {
    /// Records what crosses `inner`.
    pub const fn new(inner: T, sink: S) -> Self {
        Self { inner, sink: RefCell::new(sink) }
    }

    fn record(&self, event: &Event) {
        (self.sink.borrow_mut())(event);
    }
}

impl<V: Vcpu, S: FnMut(&Event)> Vcpu for Recorder<V, S> {
    fn enter(&mut self, entry: &Entry) -> Return {
        self.record(&Event::entry(entry));
        let result = self.inner.enter(entry);
        self.record(&match &result {
            Return::Exit(exit) => {
                let words = [
                    u64::from(exit.reason),
                    exit.qualification,
                    exit.instruction_length,
                    exit.guest_physical,
                    exit.rip,
                    exit.rflags,
                    u64::from(exit.interruptibility),
                    exit.cr3,
                    u64::from(exit.injection.0),
                ];
                Event::new(Kind::Exit, words.into_iter().chain(exit.registers.0))
            }
            Return::Notified { rip, injection, end } => {
                Event::new(Kind::Notified, [*rip, u64::from(injection.0), u64::from(*end)])
            }
        });
        result
    }

    fn read(&mut self, field: Field) -> u64 {
        let value = self.inner.read(field);
        self.record(&Event::new(Kind::Read, [field as u64, value]));
        value
    }

    fn write(&mut self, field: Field, value: u64) {
        self.record(&Event::new(Kind::Write, [field as u64, value]));
        self.inner.write(field, value);
    }

    fn set(&mut self, register: Switched, value: u64) -> bool {
        let taken = self.inner.set(register, value);
        self.record(&Event::new(Kind::Set, [register as u64, value, u64::from(taken)]));
        taken
    }

    fn now(&self) -> u64 {
        let now = self.inner.now();
        self.record(&Event::new(Kind::Now, [now]));
        now
    }
}

impl<V: Memory, S: FnMut(&Event)> Memory for Recorder<V, S> {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> bool {
        let found = self.inner.read_memory(address, bytes);
        let head = [address, bytes.len() as u64, u64::from(found)];
        self.record(&Event::new(Kind::Memory, head.into_iter().chain(words(bytes))));
        found
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        let found = self.inner.write_memory(address, bytes);
        self.record(&Event::store(address, bytes, [u64::from(found)]));
        found
    }
}

impl<L: PmuLink, S: FnMut(&Event)> PmuLink for Recorder<L, S> {
    fn call(&mut self, request: &Message) -> Option<Message> {
        self.record(&Event::message(Kind::Call, request));
        let reply = self.inner.call(request);
        self.record(&match &reply {
            Some(reply) => Event::message(Kind::Reply, reply),
            None => Event::new(Kind::Gone, []),
        });
        reply
    }
}
