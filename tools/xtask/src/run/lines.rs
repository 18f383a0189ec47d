//! The lines that the VMM and the guests print: `@word key=value key=value`, the guest's with a mark before.

use std::collections::BTreeMap;

/// What stands before a line of the guest.
pub const GUEST: &str = "guest: ";

/// A line that begins with `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// The guest printed it.
    pub guest: bool,
    /// The word after `@`.
    pub word: &'a str,
    /// All after the word.
    pub text: &'a str,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    /// The line, if it begins with `@`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (guest, line) = match line.strip_prefix(GUEST) {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let line = line.strip_prefix('@')?;
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let fields = text.split(' ').filter_map(|field| field.split_once('=')).collect();
        Some(Self { guest, word, text, fields })
    }

    /// The text of a field.
    pub fn field(&self, key: &str) -> Option<&'a str> {
        self.fields.get(key).copied()
    }

    /// The number in a field.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.field(key)?.parse().ok()
    }

    /// All fields that hold a number.
    pub fn numbers(&self) -> BTreeMap<String, u64> {
        self.fields.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.parse().ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn fields_are_found_and_the_guest_cannot_speak_for_the_vmm() {
        let line = Line::parse("@pmi raised=3 lost=x").expect("begins with @");
        assert_eq!(
            (line.guest, line.word, line.number("raised"), line.number("lost")),
            (false, "pmi", Some(3), None)
        );
        let guest = Line::parse("guest: @stop code=0").expect("begins with @ after the mark");
        assert!(guest.guest);
        assert_eq!(Line::parse("pmu: channel 1"), None);
        assert_eq!(Line::parse("guest: hello"), None);
    }
}
