//! What is going on, while one waits: a line on standard error for each step, with the time.

use super::lines::GUEST;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lines of a report are not shown as they come.
const REPORT: char = '@';
/// At most so often a count of the guest's lines is shown.
const OFTEN: Duration = Duration::from_secs(3);

/// A clock and what was said.
pub struct Progress {
    start: Instant,
    last: Cell<Instant>,
    lines: Cell<usize>,
}

impl Progress {
    pub fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: Cell::new(now), lines: Cell::new(0) }
    }

    /// A step begins.
    pub fn say(&self, step: &str) {
        self.last.set(Instant::now());
        eprintln!("[{:5.1} s] {step}", self.start.elapsed().as_secs_f64());
    }

    /// A serial line came.
    pub fn line(&self, line: &str) {
        if line.starts_with("Booting all finished") {
            self.say("seL4 is up");
        } else if let Some(text) = line.strip_prefix(GUEST) {
            self.lines.set(self.lines.get() + 1);
            if self.lines.get() == 1 {
                self.say("the guest runs");
            }
            if !text.starts_with(REPORT) {
                self.say(line);
            }
        } else if line.starts_with("pmu: ")
            || line.starts_with("initialiser: ")
            || line.starts_with("monitor: ")
        {
            self.say(line);
        }
        if self.last.get().elapsed() > OFTEN {
            self.say(&format!("{} lines of the guest", self.lines.get()));
        }
    }

    /// The machine has stopped.
    pub fn end(&self) {
        self.say("done");
        eprintln!();
    }
}
