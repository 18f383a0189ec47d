//! The way from an overflow to its interrupt, which takes time on hardware.

use crate::lvtpc::PmiRequest;

/// Holds a PMI request until `skid` instructions after its overflow. One request is on its way at most, as in
/// hardware: a second overflow before then adds none.
#[derive(Clone, Copy, Debug)]
pub struct PmiLine {
    skid: u64,
    due: Option<u64>,
}

impl PmiLine {
    /// A line that delays by `skid` instructions; 0 delivers at the end of the overflowing instruction.
    #[must_use]
    pub fn new(skid: u64) -> Self {
        Self { skid, due: None }
    }

    /// Takes a request at time `now`, in instructions.
    pub fn request(&mut self, PmiRequest: PmiRequest, now: u64) {
        if self.due.is_none() {
            self.due = Some(now + self.skid);
        }
    }

    /// The request, once it is due at time `now`.
    #[must_use]
    pub fn take(&mut self, now: u64) -> Option<PmiRequest> {
        if self.due? > now {
            return None;
        }
        self.due = None;
        Some(PmiRequest)
    }

    /// The processor stops executing instructions at time `now`: a request on its way arrives at once, as its
    /// delay is time on hardware.
    pub fn hurry(&mut self, now: u64) {
        self.due = self.due.map(|due| due.min(now));
    }

    /// The processor is reset: nothing is on its way.
    pub fn reset(&mut self) {
        self.due = None;
    }

    /// When the request on its way is due.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.due
    }
}
