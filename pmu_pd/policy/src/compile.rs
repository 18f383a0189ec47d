//! From the file to the binary form.

use crate::error::Error;
use crate::filter::{ALL_FIXED, Action, Entry, EventFilter, MAX_ENTRIES, Table, is_default, table};
use crate::source;
use pmu_api::{MAX_VMS, Mode};
use pmu_core::arch::{ARCHITECTURAL_EVENTS, MAX_FIXED, MAX_GENERAL, MAX_VERSION};
use pmu_core::geometry::Wanted;
use pmu_core::pmi::PmiLimit;
use pmu_core::policy::{self, CHANNELS, HEADER_WORDS, NO_CHANNEL, RECORD_WORDS, VmRecord};
use std::ops::RangeInclusive;
use toml::Spanned;

/// A policy in its binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Its words.
    pub words: Vec<u64>,
    /// What it says, a line's worth for each VM.
    pub vms: Vec<Summary>,
}

impl Compiled {
    /// Its bytes, for a memory region.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// What a policy says about a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its channel.
    pub channel: u8,
    /// Its mode.
    pub mode: Mode,
    /// How many of the 65,536 events of a general-purpose counter may count.
    pub events: u32,
    /// The fixed counters that may count, as bits 3:0.
    pub fixed: u64,
}

struct Compiler<'a> {
    text: &'a str,
}

/// Compiles the policy file `text`.
///
/// # Errors
/// [`Error`]: the first thing that is wrong, with its place.
pub fn compile(text: &str) -> Result<Compiled, Error> {
    let file: source::File =
        toml::from_str(text).map_err(|e| Error::at(text, e.span(), one_line(e.message())))?;
    Compiler { text }.file(&file)
}

/// What the parser's message calls by its own names, and what a policy file calls it; in the order of replacement.
const WORDS: [(&str, &str); 11] = [
    ("invalid value: integer", "out of range: integer"),
    ("expected i64", "expected an integer"),
    (" as i128", ""),
    ("map, expected a sequence", "one table, expected a list: a VM is [[vm]], in two pairs of brackets"),
    ("expected a sequence", "expected a list: [...]"),
    ("expected struct Vm", "expected a VM: [[vm]] with name and channel"),
    ("expected struct Filter", "expected a filter: [vm.filter] with action and events"),
    (
        "wanted exactly 1 element, more than 1 element",
        "expected one filter: [vm.filter], in one pair of brackets",
    ),
    ("expected struct PmiLimit", "expected a limit: { count = ..., cycles = ... }"),
    ("wanted string or table", "expected a name in quotation marks"),
    ("duplicate key", "this key is there already; remove one of the two"),
];

/// The parser's messages may have several lines.
fn one_line(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    WORDS.into_iter().fold(line, |line, (parsers, ours)| line.replace(parsers, ours))
}

struct CompiledVm {
    record: VmRecord,
    table: Box<Table>,
    summary: Summary,
}

impl Compiler<'_> {
    fn error<T, V>(&self, at: &Spanned<V>, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, Some(at.span()), message.into()))
    }

    fn number(&self, value: &Spanned<i64>, what: &str, range: RangeInclusive<u64>) -> Result<u64, Error> {
        match u64::try_from(*value.get_ref()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => self.error(
                value,
                format!(
                    "{what} is {}; it must be from {} to {}",
                    value.get_ref(),
                    range.start(),
                    range.end()
                ),
            ),
        }
    }

    fn byte(&self, value: &Spanned<i64>, what: &str, range: RangeInclusive<u8>) -> Result<u8, Error> {
        let number = self.number(value, what, u64::from(*range.start())..=u64::from(*range.end()))?;
        // The range ends at 255 at most.
        Ok(number.to_le_bytes()[0])
    }

    fn file(&self, file: &source::File) -> Result<Compiled, Error> {
        let last_channel = (CHANNELS - 1).to_le_bytes()[0];
        if file.vm.is_empty() {
            return Err(Error::at(self.text, None, "there is no [[vm]]; name at least one VM".into()));
        }
        if let Some(vm) = file.vm.get(MAX_VMS) {
            return self.error(vm, format!("one policy domain serves at most {MAX_VMS} VMs"));
        }
        let manager = match &file.manager_channel {
            Some(channel) => Some(self.byte(channel, "manager_channel", 0..=last_channel)?),
            None => None,
        };
        let mut vms: Vec<CompiledVm> = Vec::new();
        for vm in &file.vm {
            let vm = vm.get_ref();
            let channel = self.byte(&vm.channel, "channel", 0..=last_channel)?;
            if manager == Some(channel) {
                return self.error(&vm.channel, format!("channel {channel} is the manager's"));
            }
            if let Some(other) = vms.iter().find(|other| other.record.channel == channel) {
                let name = &other.summary.name;
                return self
                    .error(&vm.channel, format!("channel {channel} is already that of VM \"{name}\""));
            }
            if vms.iter().any(|other| other.summary.name == *vm.name.get_ref()) {
                return self.error(&vm.name, format!("there are two VMs called \"{}\"", vm.name.get_ref()));
            }
            vms.push(self.vm(vm, channel, file.vm.len())?);
        }
        Ok(assemble(manager, vms))
    }

    fn vm(&self, vm: &source::Vm, channel: u8, tenants: usize) -> Result<CompiledVm, Error> {
        let mode = self.mode(vm)?;
        let wanted = Wanted {
            version: self.optional(&vm.version, "version", 0..=MAX_VERSION)?,
            general: self.optional(&vm.general_counters, "general_counters", 1..=MAX_GENERAL)?,
            fixed: self.optional(&vm.fixed_counters, "fixed_counters", 0..=MAX_FIXED)?,
            tsx: vm.tsx,
        };
        let pmi_limit = match &vm.pmi_limit {
            None => None,
            Some(limit) => {
                let count = self.number(&limit.count, "count", 1..=u64::from(u32::MAX))?;
                let cycles = self.number(&limit.cycles, "cycles", 1..=i64::MAX.unsigned_abs())?;
                Some(PmiLimit { count: u32::try_from(count).unwrap_or(u32::MAX), cycles })
            }
        };
        let filter = vm.filter.as_ref().map(|filter| self.filter(filter, mode)).transpose()?;
        let (table, fixed) = match (&filter, mode) {
            (_, Mode::Passthrough) => (table(|_, _| true), ALL_FIXED),
            (_, Mode::Off) => (table(|_, _| false), 0),
            (None, _) => (table(|event, umask| is_default(event, umask, tenants)), ALL_FIXED),
            (Some(filter), _) => {
                let silent_ok = |event, umask| {
                    tenants == 1 || filter.action == Action::Allow || is_default(event, umask, tenants)
                };
                let permits = |event, umask| filter.permits(event, umask) && silent_ok(event, umask);
                (table(permits), filter.permitted_fixed())
            }
        };
        let name = self.name(&vm.name)?;
        let summary = Summary {
            name: vm.name.get_ref().clone(),
            channel,
            mode,
            events: table.iter().map(|word| word.count_ones()).sum(),
            fixed,
        };
        let record = VmRecord { channel, mode, wanted, fixed_permitted: fixed, pmi_limit, table: 0, name };
        Ok(CompiledVm { record, table: Box::new(table), summary })
    }

    fn mode(&self, vm: &source::Vm) -> Result<Mode, Error> {
        let passthrough = matches!(vm.mode.as_ref().map(Spanned::get_ref), Some(source::Mode::Passthrough));
        let unsafe_benchmark = vm.unsafe_benchmark.as_ref().is_some_and(|value| *value.get_ref());
        match (&vm.mode, &vm.unsafe_benchmark) {
            (Some(mode), _) if passthrough && !unsafe_benchmark => {
                self.error(mode, "\"passthrough\" applies no policy; it needs unsafe_benchmark = true")
            }
            (_, Some(value)) if unsafe_benchmark && !passthrough => {
                self.error(value, "unsafe_benchmark goes with mode = \"passthrough\" only")
            }
            (mode, _) => Ok(match mode.as_ref().map(Spanned::get_ref) {
                Some(source::Mode::Off) => Mode::Off,
                Some(source::Mode::Emulated) => Mode::Emulated,
                Some(source::Mode::Passthrough) => Mode::Passthrough,
                Some(source::Mode::Mediated) | None => Mode::Mediated,
            }),
        }
    }

    fn name(&self, name: &Spanned<String>) -> Result<[u8; 24], Error> {
        let mut bytes = [0; 24];
        let given = name.get_ref().as_bytes();
        match bytes.get_mut(..given.len()) {
            Some(place) if !given.is_empty() && !given.contains(&0) => place.copy_from_slice(given),
            _ => return self.error(name, "a VM's name has 1 to 24 bytes, none of them 0"),
        }
        Ok(bytes)
    }

    fn optional(
        &self,
        value: &Option<Spanned<i64>>,
        what: &str,
        range: RangeInclusive<u8>,
    ) -> Result<Option<u8>, Error> {
        value.as_ref().map(|value| self.byte(value, what, range)).transpose()
    }

    fn filter(&self, filter: &Spanned<source::Filter>, mode: Mode) -> Result<EventFilter, Error> {
        if !matches!(mode, Mode::Mediated | Mode::Emulated) {
            return self.error(filter, "this mode has no filter; remove [vm.filter]");
        }
        let source::Filter { action, events, fixed } = filter.get_ref();
        if events.get_ref().len() > MAX_ENTRIES {
            let message = format!("{} entries; a filter has at most {MAX_ENTRIES}", events.get_ref().len());
            return self.error(events, message);
        }
        let action = match action {
            source::Action::Allow => Action::Allow,
            source::Action::Deny => Action::Deny,
        };
        let entries = events.get_ref().iter().map(|event| self.entry(event)).collect::<Result<_, _>>()?;
        let mut bits = 0;
        for index in fixed {
            bits |= 1 << self.byte(index, "fixed counter", 0..=MAX_FIXED - 1)?;
        }
        Ok(EventFilter { action, entries, fixed: bits })
    }

    fn entry(&self, entry: &Spanned<source::Event>) -> Result<Entry, Error> {
        let raw = match entry.get_ref() {
            source::Event::Raw(raw) => raw,
            source::Event::Name(name) => {
                let Some(event) = ARCHITECTURAL_EVENTS.iter().find(|event| event.name == name) else {
                    let names: Vec<&str> = ARCHITECTURAL_EVENTS.iter().map(|event| event.name).collect();
                    return self.error(
                        entry,
                        format!("\"{name}\" is no architectural event; they are {}", names.join(", ")),
                    );
                };
                let [event, umask] = event.key.to_le_bytes();
                return Ok(Entry { event, umask, mask: 0xFF, exclude: false });
            }
        };
        let event = self.byte(&raw.event, "event", 0..=0xFF)?;
        let umask = self.byte(&raw.umask, "umask", 0..=0xFF)?;
        let mask = match &raw.mask {
            Some(mask) => self.byte(mask, "mask", 0..=0xFF)?,
            None => 0xFF,
        };
        if umask & !mask != 0 {
            return self
                .error(&raw.umask, "umask has a bit that mask lacks: the entry can never hit an event");
        }
        Ok(Entry { event, umask, mask, exclude: raw.exclude })
    }
}

/// Puts header, records and tables together; equal tables once.
fn assemble(manager: Option<u8>, mut vms: Vec<CompiledVm>) -> Compiled {
    let tables_at = HEADER_WORDS + vms.len() * RECORD_WORDS;
    let mut tables: Vec<Box<Table>> = Vec::new();
    for vm in &mut vms {
        let place = tables.iter().position(|table| *table == vm.table).unwrap_or_else(|| {
            tables.push(vm.table.clone());
            tables.len() - 1
        });
        vm.record.table = (tables_at + place * vm.table.len()) as u64;
    }
    let length = tables_at + tables.iter().map(|table| table.len()).sum::<usize>();
    let format = policy::FORMAT | (vms.len() as u64) << 32;
    let manager = manager.map_or(NO_CHANNEL, u64::from);
    let mut words = vec![policy::MAGIC, format, length as u64, 0, manager, 0, 0, 0];
    words.extend(vms.iter().flat_map(|vm| vm.record.words()));
    words.extend(tables.iter().flat_map(|table| table.iter()));
    words[policy::CHECKSUM_WORD] = policy::policy_checksum(&words);
    Compiled { words, vms: vms.into_iter().map(|vm| vm.summary).collect() }
}
