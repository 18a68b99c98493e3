//! The field lines of a head (RFC 9112 section 5).

use super::chars::{is_value, token_prefix, trim};
use super::names::{Name, classify};
use super::refusal::Refusal;

/// Fields that a head may have. Their bytes are limited as well: this is for what each costs beyond that.
const FIELDS_MAX: usize = 256;

/// How long a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimit(pub usize);

/// One field: where its name and its value are within the head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Name,
    start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
}

impl Field {
    /// The name as it was spelled.
    pub(super) fn name_in<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.start as usize..self.name_end as usize]
    }

    /// The value, without the white space around it.
    pub(super) fn value_in<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.value_start as usize..self.value_end as usize]
    }
}

/// Room for the fields of one head, used again for the next one.
#[derive(Debug, Default)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// Reads the lines of `head` from `at` to its empty line. The lines end in CRLF, which
    /// [`HeadScan`](super::HeadScan) has seen to.
    pub(super) fn read(&mut self, head: &[u8], mut at: usize) -> Result<(), Refusal> {
        self.0.clear();
        loop {
            let line = line_at(head, at)?;
            if line.is_empty() {
                return Ok(());
            }
            if self.0.len() == FIELDS_MAX {
                return Err(Refusal::too_large("it has too many fields"));
            }
            self.0.push(read_field(line, at)?);
            at += line.len() + 2;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> + '_ {
        self.0.iter()
    }

    /// The value of the only field of this name.
    pub(super) fn only<'a>(
        &self,
        head: &'a [u8],
        name: Name,
        twice: &'static str,
    ) -> Result<Option<&'a [u8]>, Refusal> {
        let mut found = self.0.iter().filter(|field| field.name == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Refusal::bad(twice));
        }
        Ok(first.map(|field| field.value_in(head)))
    }
}

/// The line at `at`, without its CRLF.
pub(super) fn line_at(head: &[u8], at: usize) -> Result<&[u8], Refusal> {
    let rest = head.get(at..).unwrap_or_default();
    let end = memchr::memchr(b'\n', rest).ok_or(Refusal::bad("its end is missing"))?;
    rest[..end].strip_suffix(b"\r").ok_or(Refusal::bad("a line does not end in CRLF"))
}

/// Reads one line, which lies at `at` in its head.
pub(super) fn read_field(line: &[u8], at: usize) -> Result<Field, Refusal> {
    let (length, spelling) = token_prefix(line);
    if length == 0 {
        return Err(match line.first() {
            Some(b' ' | b'\t') => Refusal::bad("a field is folded over two lines"),
            _ => Refusal::bad("a field has no proper name"),
        });
    }
    match line.get(length) {
        Some(b':') => {}
        Some(b' ' | b'\t') => return Err(Refusal::bad("there is a space before a field's colon")),
        _ => return Err(Refusal::bad("a field has no proper name")),
    }
    let raw = &line[length + 1..];
    if !is_value(raw) {
        return Err(Refusal::bad("a field's value has control characters"));
    }
    let value = trim(raw);
    let lead =
        raw.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count().min(raw.len() - value.len());
    let start = at + length + 1 + lead;
    let index = |place: usize| u32::try_from(place).map_err(|_| Refusal::too_large("it is too long"));
    Ok(Field {
        name: classify(&line[..length], spelling),
        start: index(at)?,
        name_end: index(at + length)?,
        value_start: index(start)?,
        value_end: index(start + value.len())?,
    })
}

/// The members of a list (RFC 9110 section 5.6.1), empty ones left out.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}
