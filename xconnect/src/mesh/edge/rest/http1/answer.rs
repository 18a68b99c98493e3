//! An answer's head: judged as a request's is, and written anew for the consumer.

use super::chars::{is_token, is_value};
use super::fields::{Fields, HeadLimit, line_at, members};
use super::length;
use super::names::Name;
use super::refusal::Refusal;
use super::request::{OPTIONS_MAX, Version, put};

/// Where an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// An answer's head that may go on.
#[derive(Debug)]
pub struct Answer<'a> {
    head: &'a [u8],
    fields: &'a Fields,
    reason: &'a [u8],
    /// The status code.
    pub status: u16,
    /// Where its body ends.
    pub framing: AnswerFraming,
    /// The provider will take another request on this connection.
    pub reusable: bool,
    names: bool,
}

/// What the consumer's side of an answer is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    /// The version of the request.
    pub(crate) version: Version,
    /// The consumer's connection goes on after this answer.
    pub(crate) keep_alive: bool,
    /// The connection becomes one of another protocol.
    pub(crate) upgrade: bool,
}

impl<'a> Answer<'a> {
    /// Judges a whole head, with its empty line. `to_head`: the request's method was HEAD.
    ///
    /// # Errors
    /// Why it does not go on; its status is not to be used.
    pub fn read(
        head: &'a [u8],
        fields: &'a mut Fields,
        limit: HeadLimit,
        to_head: bool,
    ) -> Result<Self, Refusal> {
        if head.len() > limit.0 {
            return Err(Refusal::too_large("its head is too long"));
        }
        let line = line_at(head, 0)?;
        let (version, status, reason) = status_line(line)?;
        fields.read(head, line.len() + 2)?;
        let fields = &*fields;
        let length = fields.only(head, Name::ContentLength, "it has two Content-Length fields")?;
        let coding = fields.only(head, Name::TransferEncoding, "it has two Transfer-Encoding fields")?;
        let framing = match (length, coding) {
            (Some(_), Some(_)) => {
                return Err(Refusal::bad("it has both Content-Length and Transfer-Encoding"));
            }
            (Some(length), None) => match length::read(length) {
                Some(length) => AnswerFraming::Length(length),
                None => return Err(Refusal::bad("its Content-Length is not one plain number")),
            },
            (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && version == Version::Http11 => {
                AnswerFraming::Chunked
            }
            (None, Some(_)) => return Err(Refusal::bad("its Transfer-Encoding is not chunked alone")),
            (None, None) => AnswerFraming::Close,
        };
        let without_body = to_head || status < 200 || status == 204 || status == 304;
        let framing = match framing {
            _ if without_body => AnswerFraming::None,
            AnswerFraming::Length(0) => AnswerFraming::None,
            framing => framing,
        };
        let mut answer = Self { head, fields, reason, status, framing, reusable: false, names: false };
        let (mut close, mut keep_alive, mut count) = (false, false, 0);
        for field in fields.iter().filter(|field| field.name == Name::Connection) {
            for option in members(field.value_in(head)) {
                let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
                count += 1;
                if !is_token(option) || count > OPTIONS_MAX {
                    return Err(Refusal::bad("its Connection field is not a short list of options"));
                }
                close |= is("close");
                keep_alive |= is("keep-alive");
                answer.names |= !is("close") && !is("keep-alive") && !is("upgrade");
            }
        }
        answer.reusable =
            framing != AnswerFraming::Close && !close && (version == Version::Http11 || keep_alive);
        Ok(answer)
    }

    /// Writes the head for the consumer, with its empty line.
    pub(crate) fn write(&self, delivery: Delivery, out: &mut Vec<u8>) {
        out.reserve(self.head.len() + 64);
        let digits = [self.status / 100, self.status / 10 % 10, self.status % 10];
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend(digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)));
        out.push(b' ');
        out.extend_from_slice(self.reason);
        out.extend_from_slice(b"\r\n");
        let unwrapped = self.unwraps(delivery.version);
        for field in self.fields.iter() {
            let goes_on = match field.name {
                // RFC 9110 section 8.6: not with these.
                Name::ContentLength => self.status >= 200 && self.status != 204,
                Name::TransferEncoding => self.framing == AnswerFraming::Chunked && !unwrapped,
                Name::Upgrade => delivery.upgrade || self.status == 426,
                Name::Connection | Name::Te | Name::Hop => false,
                _ => !self.is_named(field.name_in(self.head)),
            };
            if goes_on {
                put(out, field.name_in(self.head), field.value_in(self.head));
            }
        }
        if delivery.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if self.status >= 200 {
            match (delivery.keep_alive, delivery.version) {
                (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
                (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
                (true, Version::Http11) => {}
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether the chunks are for a consumer that knows none.
    pub(crate) fn unwraps(&self, version: Version) -> bool {
        self.framing == AnswerFraming::Chunked && version == Version::Http10
    }

    fn is_named(&self, name: &[u8]) -> bool {
        self.names
            && self
                .fields
                .iter()
                .filter(|field| field.name == Name::Connection)
                .flat_map(|field| members(field.value_in(self.head)))
                .any(|option| option.eq_ignore_ascii_case(name))
    }
}

fn status_line(line: &[u8]) -> Result<(Version, u16, &[u8]), Refusal> {
    const BAD: Refusal = Refusal::bad("its first line is not HTTP/1.1 STATUS REASON");
    let (version, rest) = line.split_at_checked(9).ok_or(BAD)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(BAD),
    };
    let (digits, reason) = rest.split_at_checked(3).ok_or(BAD)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'1'..=b'9').contains(&digits[0]) {
        return Err(BAD);
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    match reason {
        [] => Ok((version, status, reason)),
        [b' ', reason @ ..] if is_value(reason) => Ok((version, status, reason)),
        _ => Err(BAD),
    }
}
