//! Elements and attributes with their lines.

use crate::error::Error;
use roxmltree::{Document, Node};
use std::path::Path;

/// An element of the description.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    node: Node<'a, 'a>,
    file: &'a Path,
}

impl<'a> Element<'a> {
    /// The root of `document`, which was read from `file`.
    pub(crate) fn root(document: &'a Document<'a>, file: &'a Path) -> Element<'a> {
        Element { node: document.root_element(), file }
    }

    pub(crate) fn tag(&self) -> &'a str {
        self.node.tag_name().name()
    }

    pub(crate) fn line(&self) -> u32 {
        self.node.document().text_pos_at(self.node.range().start).row
    }

    /// An error at this element: `reason` says what is wrong with it.
    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> Error {
        Error::line(self.file, self.line(), format!("{}: {reason}", self.tag()))
    }

    /// Refuses every attribute that is not in `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Error> {
        for attribute in self.node.attributes() {
            if attribute.namespace().is_some() || !known.contains(&attribute.name()) {
                return Err(self.error(format_args!("invalid attribute '{}'", attribute.name())));
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&'a str, Error> {
        self.get(name).ok_or_else(|| self.error(format_args!("missing attribute '{name}'")))
    }

    /// A decimal number, or a hexadecimal one after `0x`; underscores between digits mean nothing.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.replace('_', "");
        let value = match digits.strip_prefix("0x") {
            Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
            None => digits.parse(),
        };
        value.map(Some).map_err(|e| self.error(format_args!("{name} '{text}' is no integer: {e}")))
    }

    pub(crate) fn required_number(&self, name: &str) -> Result<u64, Error> {
        self.required(name)?;
        self.number(name).map(Option::unwrap_or_default)
    }

    /// A decimal number from `min` to `max`: the Microkit tool takes no hexadecimal for these.
    pub(crate) fn decimal(&self, name: &str, min: u32, max: u32) -> Result<u32, Error> {
        let text = self.required(name)?;
        let value: i64 = text
            .parse()
            .map_err(|e| self.error(format_args!("{name} '{text}' is no decimal integer: {e}")))?;
        match u32::try_from(value) {
            Ok(value) if (min..=max).contains(&value) => Ok(value),
            _ => Err(self.error(format_args!("{name} must be {min} to {max}, not {value}"))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.error(format_args!("{name} must be 'true' or 'false'"))),
        }
    }

    /// One of two words.
    pub(crate) fn choice<T: Copy>(&self, name: &str, words: [(&str, T); 2], default: T) -> Result<T, Error> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            self.error(format_args!("{name} must be either '{}' or '{}'", words[0].0, words[1].0))
        })
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let file = self.file;
        self.node.children().filter(Node::is_element).map(move |node| Element { node, file })
    }

    /// This element and all below it.
    pub(crate) fn descendants(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let file = self.file;
        self.node.descendants().filter(Node::is_element).map(move |node| Element { node, file })
    }

    /// The processing instructions directly in this element: line, name and text.
    pub(crate) fn instructions(&self) -> impl Iterator<Item = (u32, &'a str, &'a str)> + use<'a> {
        self.node.children().filter_map(|node| {
            let instruction = node.pi()?;
            let line = node.document().text_pos_at(node.range().start).row;
            Some((line, instruction.target, instruction.value.unwrap_or_default()))
        })
    }

    /// Refuses text that is not white space, here and below.
    pub(crate) fn no_text(&self) -> Result<(), Error> {
        for node in self.node.descendants().filter(Node::is_text) {
            let text = node.text().unwrap_or_default();
            if !text.trim().is_empty() {
                let before = text.len() - text.trim_start().len();
                let line = node.document().text_pos_at(node.range().start + before).row;
                return Err(Error::line(self.file, line, format!("unexpected text '{}'", text.trim())));
            }
        }
        Ok(())
    }

    /// That this element cannot be where it is.
    pub(crate) fn misplaced(&self) -> Error {
        self.error("invalid element here")
    }

    pub(crate) fn file(&self) -> &'a Path {
        self.file
    }
}
