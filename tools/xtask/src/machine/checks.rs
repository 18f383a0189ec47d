//! The lines with which a test kernel reports: `check | name | section | got | want`, and at the end
//! `end | number of checks`.

use crate::process::{Failure, Outcome};
use std::collections::HashSet;
use std::fmt;

/// One check: what a test kernel found, and what must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked; unique in a run.
    pub name: String,
    /// The SDM's section with the rule; may be empty.
    pub section: String,
    /// What the kernel found, as it printed it.
    pub got: String,
    /// What the rule gives.
    pub want: String,
}

impl Check {
    /// A check of numbers.
    pub fn new(name: &str, section: &str, got: u64, want: u64) -> Self {
        let [got, want] = [got, want].map(|value| format!("{value:#x}"));
        Self { name: name.to_owned(), section: section.to_owned(), got, want }
    }

    /// Whether the kernel found what must be.
    pub fn ok(&self) -> bool {
        self.got == self.want
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section =
            if self.section.is_empty() { String::new() } else { format!(" [SDM {}]", self.section) };
        if self.ok() {
            write!(f, "ok    {}{section}: {}", self.name, self.got)
        } else {
            write!(f, "FAIL  {}{section}: got {}, want {}", self.name, self.got, self.want)
        }
    }
}

/// The checks in a serial log. A log that is damaged, cut short or names a check twice is a failure itself.
pub fn parse(serial: &str) -> Outcome<Vec<Check>> {
    let broken =
        |why: String| Failure::Check(format!("{why}; the end of the serial log:\n{}", end_of(serial)));
    let mut checks = Vec::new();
    let mut names = HashSet::new();
    for line in serial.lines() {
        let fields: Vec<&str> = line.split(" | ").collect();
        match fields[..] {
            ["check", name, section, got, want] => {
                if !names.insert(name) {
                    return Err(broken(format!("two checks are named `{name}`")));
                }
                checks.push(Check {
                    name: name.to_owned(),
                    section: section.to_owned(),
                    got: got.to_owned(),
                    want: want.to_owned(),
                });
            }
            ["end", count] if count.parse() == Ok(checks.len()) => return Ok(checks),
            _ => return Err(broken(format!("unexpected line `{line}`"))),
        }
    }
    Err(broken("the test kernel did not come to its end".into()))
}

fn end_of(serial: &str) -> String {
    let lines: Vec<&str> = serial.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// No check at all is a failure, too.
pub fn verdict(checks: &[Check]) -> Outcome {
    let failed: Vec<String> = checks.iter().filter(|check| !check.ok()).map(Check::to_string).collect();
    if failed.is_empty() && !checks.is_empty() {
        Ok(())
    } else {
        Err(Failure::Check(format!(
            "{} of {} checks failed\n{}",
            failed.len(),
            checks.len(),
            failed.join("\n")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, parse, verdict};

    #[test]
    fn a_complete_log_is_read() {
        let checks = parse("check | a | 20.2 | 0x1 | 0x1\ncheck | b | 20.2 | 0x1 | 0x2\nend | 2\n").unwrap();
        assert_eq!(checks[0], Check::new("a", "20.2", 1, 1));
        assert_eq!([checks[0].ok(), checks[1].ok()], [true, false]);
        let message = verdict(&checks).unwrap_err().to_string();
        assert!(
            message.starts_with("1 of 2 checks failed\nFAIL  b [SDM 20.2]: got 0x1, want 0x2"),
            "{message}"
        );
        assert!(verdict(&checks[..1]).is_ok());
    }

    #[test]
    fn a_damaged_log_is_refused() {
        for (log, why) in [
            ("", "did not come to its end"),
            ("check | a | 1 | 0x1 | 0x1\n", "did not come to its end"),
            ("check | a | 1 | 0x1 | 0x1\nend | 2\n", "unexpected line `end | 2`"),
            ("check | a | 1 | 0x1\nend | 1\n", "unexpected line `check"),
            ("panicked at x\n", "unexpected line `panicked at x`"),
            ("check | a | 1 | 0x1 | 0x1\ncheck | a | 1 | 0x1 | 0x1\nend | 2\n", "two checks are named `a`"),
        ] {
            let message = parse(log).unwrap_err().to_string();
            assert!(message.starts_with(why) || message.contains(why), "{log}: {message}");
        }
        assert!(verdict(&[]).is_err());
    }
}
