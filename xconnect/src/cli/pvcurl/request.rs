//! The head of a request: defaults, changed by the caller's headers.

use super::error::Error;
use super::url::Url;

/// A request with a longer body asks first (`Expect: 100-continue`), as curl's does.
const ASK_FROM: u64 = 1024 * 1024;

/// How the body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// So many bytes.
    Length(u64),
    Chunked,
}

/// The head as bytes, and what it promises.
#[derive(Debug)]
pub(in crate::cli) struct Head {
    pub(super) method: String,
    pub(super) bytes: Vec<u8>,
    pub(super) sending: Sending,
    pub(super) expect: bool,
}

/// What the body is, as far as the head tells it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Body {
    /// `None`: not known, or there is no body where `present` is false.
    pub(in crate::cli) length: Option<u64>,
    /// A type to name unless a header does.
    pub(in crate::cli) content_type: Option<&'static str>,
    pub(in crate::cli) present: bool,
}

impl Body {
    pub(in crate::cli) const NONE: Self = Self { length: Some(0), content_type: None, present: false };
}

impl Head {
    /// Builds the head. Each of `headers` is `Name: value`, `Name:` (leaves a default out) or `Name;` (sends
    /// it empty), as with curl.
    ///
    /// # Errors
    /// [`Error::Usage`] for a malformed header or method.
    pub(in crate::cli) fn new(
        method: &str,
        url: &str,
        headers: &[String],
        body: Body,
    ) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        let token =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if !token(method) {
            return Err(Error::Usage(format!("\"{method}\" is no method")));
        }
        let mut own: Vec<(String, Option<String>)> = Vec::new();
        for header in headers {
            let (name, value) = match (header.split_once(':'), header.strip_suffix(';')) {
                (Some((name, value)), _) => {
                    (name.trim(), Some(value.trim()).filter(|value| !value.is_empty()))
                }
                (None, Some(name)) => (name.trim(), Some("")),
                (None, None) => return Err(Error::Usage(format!("the header \"{header}\" has no colon"))),
            };
            if !token(name) || header.bytes().any(|byte| byte < b' ' && byte != b'\t') {
                return Err(Error::Usage(format!("the header \"{}\" is malformed", header.escape_debug())));
            }
            own.push((name.to_owned(), value.map(str::to_owned)));
        }
        // The framing is one thing: what the caller says of it is understood, not just sent.
        let said = |name: &str| own.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name)).cloned();
        let length = match said("content-length").and_then(|(_, value)| value) {
            Some(value) => Some(
                value
                    .parse()
                    .map_err(|_| Error::Usage(format!("the Content-Length \"{value}\" is not a number")))?,
            ),
            None => body.length,
        };
        let chunked = said("transfer-encoding")
            .and_then(|(_, value)| value)
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let sending = match length {
            Some(length) if !chunked => Sending::Length(length),
            _ => Sending::Chunked,
        };
        let mut defaults = vec![
            ("Host", url.host.clone()),
            ("User-Agent", concat!("pvcurl/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Accept", "*/*".to_owned()),
        ];
        let asks = body.present && length.is_none_or(|length| length > ASK_FROM);
        if body.present {
            defaults.extend(body.content_type.map(|kind| ("Content-Type", kind.to_owned())));
            if asks {
                defaults.push(("Expect", "100-continue".to_owned()));
            }
        }
        let framing = match sending {
            Sending::Chunked if body.present => Some("Transfer-Encoding: chunked".to_owned()),
            Sending::Length(length) if body.present => Some(format!("Content-Length: {length}")),
            // A server may insist on a length where the method usually has a body.
            Sending::Length(_) if matches!(method, "POST" | "PUT" | "PATCH") => {
                Some("Content-Length: 0".to_owned())
            }
            _ => None,
        };
        let mut text = format!("{method} {} HTTP/1.1\r\n", url.target);
        for (name, value) in &defaults {
            if said(name).is_none() {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.extend(framing.map(|framing| framing + "\r\n"));
        let ours = |name: &str| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        };
        for (name, value) in own.iter().filter(|(name, _)| !ours(name)) {
            if let Some(value) = value {
                text.push_str(format!("{name}: {value}").trim_end());
                text.push_str("\r\n");
            }
        }
        text.push_str("\r\n");
        let expect = match said("expect") {
            Some((_, value)) => {
                body.present && value.is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
            }
            None => asks,
        };
        let sending = if body.present { sending } else { Sending::Length(0) };
        Ok(Self { method: method.to_owned(), bytes: text.into_bytes(), sending, expect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, headers: &[&str], body: Body) -> Result<(String, Sending, bool), u8> {
        let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
        let head = Head::new(method, "http://localhost/x", &headers, body).map_err(|error| error.code())?;
        let text = String::from_utf8(head.bytes).unwrap();
        Ok((
            text.replace(concat!("pvcurl/", env!("CARGO_PKG_VERSION")), "pvcurl").replace("\r\n", "|"),
            head.sending,
            head.expect,
        ))
    }

    fn body(length: Option<u64>) -> Body {
        Body { length, content_type: Some("application/json"), present: true }
    }

    #[test]
    fn defaults_and_changes() {
        let (text, sending, expect) = head("GET", &[], Body::NONE).unwrap();
        assert_eq!(text, "GET /x HTTP/1.1|Host: localhost|User-Agent: pvcurl|Accept: */*||");
        assert_eq!((sending, expect), (Sending::Length(0), false));
        let (text, ..) =
            head("GET", &["Accept:", "host: other", "X-Empty;", "User-Agent:"], Body::NONE).unwrap();
        assert_eq!(text, "GET /x HTTP/1.1|host: other|X-Empty:||");
        let (text, sending, _) = head("POST", &[], body(Some(2))).unwrap();
        assert!(text.ends_with("|Content-Type: application/json|Content-Length: 2||"), "{text}");
        assert_eq!(sending, Sending::Length(2));
        let (text, ..) = head("PUT", &[], Body::NONE).unwrap();
        assert!(text.ends_with("|Content-Length: 0||"), "{text}");
    }

    #[test]
    fn framing_is_understood() {
        let (text, sending, expect) = head("PUT", &[], body(None)).unwrap();
        assert!(
            text.contains("|Transfer-Encoding: chunked|") && text.contains("|Expect: 100-continue|"),
            "{text}"
        );
        assert_eq!((sending, expect), (Sending::Chunked, true));
        let said = ["Content-Length: 5", "Transfer-Encoding: identity", "Expect:"];
        let (text, sending, expect) = head("PUT", &said, body(None)).unwrap();
        assert!(
            text.contains("|Content-Length: 5|") && !text.contains("ncoding") && !text.contains("Expect"),
            "{text}"
        );
        assert_eq!((sending, expect), (Sending::Length(5), false));
    }

    #[test]
    fn bad_ones_are_refused() {
        for bad in ["nocolon", "a b: c", "A: b\r\nC: d", ": x", "Content-Length: x"] {
            assert_eq!(head("GET", &[bad], Body::NONE), Err(2), "{bad}");
        }
        assert_eq!(head("G T", &[], Body::NONE), Err(2));
    }
}
