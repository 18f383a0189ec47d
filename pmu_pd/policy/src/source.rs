//! The file as written, with the place of every value.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;
use toml::Spanned;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub manager_channel: Option<Spanned<i64>>,
    #[serde(default)]
    pub vm: Vec<Spanned<Vm>>,
}

/// A `[[vm]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    pub name: Spanned<String>,
    pub channel: Spanned<i64>,
    pub mode: Option<Spanned<Mode>>,
    pub unsafe_benchmark: Option<Spanned<bool>>,
    pub version: Option<Spanned<i64>>,
    pub general_counters: Option<Spanned<i64>>,
    pub fixed_counters: Option<Spanned<i64>>,
    #[serde(default)]
    pub tsx: bool,
    pub pmi_limit: Option<PmiLimit>,
    pub filter: Option<Spanned<Filter>>,
}

/// `mode`.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Off,
    Mediated,
    Emulated,
    Passthrough,
}

/// `pmi_limit`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PmiLimit {
    pub count: Spanned<i64>,
    pub cycles: Spanned<i64>,
}

/// `[vm.filter]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub action: Action,
    pub events: Spanned<Vec<Spanned<Event>>>,
    #[serde(default)]
    pub fixed: Vec<Spanned<i64>>,
}

/// `action`.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Allow,
    Deny,
}

/// An entry of `events`.
pub enum Event {
    Name(String),
    Raw(RawEvent),
}

/// `{ event, umask, mask, exclude }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEvent {
    pub event: Spanned<i64>,
    pub umask: Spanned<i64>,
    pub mask: Option<Spanned<i64>>,
    #[serde(default)]
    pub exclude: bool,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;
        impl<'de> Visitor<'de> for EventVisitor {
            type Value = Event;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an architectural event's name or a table { event, umask, mask, exclude }")
            }
            fn visit_str<E>(self, name: &str) -> Result<Event, E> {
                Ok(Event::Name(name.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event, A::Error> {
                RawEvent::deserialize(MapAccessDeserializer::new(map)).map(Event::Raw)
            }
        }
        deserializer.deserialize_any(EventVisitor)
    }
}
