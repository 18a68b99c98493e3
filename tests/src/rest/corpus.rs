//! Requests that no honest client sends, and what must come of each: files of `tests/data/rest`.
//!
//! ```text
//! # a remark
//! == its name
//! @ forwarded "keep"          an option of the link, as JSON
//! > GET / HTTP/1.1            bytes, with CRLF at the line's end;
//! > X: \x0b{a*100}\           without it after a backslash. \r \n \t \0 \xHH \\ \{, and a hundred times a
//! |                           here the bytes are sent in two parts
//! $                           at the end: the consumer ends its side after sending
//! < GET / HTTP/1.1            a request that the provider must see,
//! <  X: *                     its fields, in any order, but no others: `*` is any value,
//! < ?Y: z                     `?` one that need not be there
//! < +3 Z: a                   the same field three times
//! < .a\r\n                    its body
//! < ~T: u                     its trailers
//! < cut                       of the last request it may see a beginning, but no end
//! = 200 400|501 close         the answers; `close`: then the connection ends though the consumer does not;
//!                             after a refusal in any case. `any`: answers, or none, to the end
//! ```

use std::collections::BTreeMap;

use serde_json::Value;

use super::reader::latin1;
use crate::wait::OrFail;

/// A case.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Options of its link.
    pub options: BTreeMap<String, Value>,
    /// What the consumer sends, part by part.
    pub parts: Vec<Vec<u8>>,
    /// The consumer ends its side then.
    pub ends: bool,
    /// What the provider must see.
    pub requests: Vec<Wanted>,
    /// What it must not see whole.
    pub cut: bool,
    /// The answers, each with its alternatives.
    pub statuses: Vec<Vec<u16>>,
    /// The mesh ends the connection.
    pub closes: bool,
    /// Any answers will do.
    pub any: bool,
}

/// A request that must be seen.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The request line.
    pub line: String,
    /// The fields: name, value, and whether it may be missing.
    pub fields: Vec<(String, String, bool)>,
    /// The body.
    pub body: String,
    /// The trailers.
    pub trailers: Vec<(String, String)>,
}

impl Case {
    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// The cases of a file's text.
///
/// # Panics
/// With the line's number, where it is not written as above.
#[track_caller]
#[must_use]
pub fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("line {}: {line}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            let case = Case { name: name.to_owned(), parts: vec![Vec::new()], ..Case::default() };
            cases.push(case);
            continue;
        }
        let case = cases.last_mut().or_fail(&place);
        add(case, line).or_fail(&place);
    }
    for case in &cases {
        assert!(case.any || !case.statuses.is_empty(), "{}: no answer", case.name);
    }
    cases
}

fn add(case: &mut Case, line: &str) -> Option<()> {
    let (sign, rest) = line.split_at(1);
    let content = rest.strip_prefix(' ').unwrap_or(rest);
    match sign {
        "@" => {
            let (name, value) = content.split_once(' ')?;
            case.options.insert(name.to_owned(), serde_json::from_str(value).ok()?);
        }
        ">" => {
            let continued = content.ends_with('\\') && !content.ends_with("\\\\");
            let content = if continued { &content[..content.len() - 1] } else { content };
            let part = case.parts.last_mut()?;
            part.extend(unescape(content)?);
            part.extend(if continued { "" } else { "\r\n" }.bytes());
        }
        "|" => case.parts.push(Vec::new()),
        "$" => case.ends = true,
        "<" if content == "cut" => case.cut = true,
        "<" => expect(case, content)?,
        "=" => {
            for word in content.split(' ') {
                match word {
                    "close" => case.closes = true,
                    "any" => case.any = true,
                    codes => {
                        let codes: Result<Vec<u16>, _> = codes.split('|').map(str::parse).collect();
                        case.statuses.push(codes.ok()?);
                    }
                }
            }
        }
        _ => return None,
    }
    Some(())
}

fn expect(case: &mut Case, content: &str) -> Option<()> {
    let field = |text: &str| {
        let (name, value) = text.split_once(':')?;
        Some((name.to_owned(), latin1(&unescape(value.trim())?)))
    };
    let (sign, rest) = content.split_at(1);
    match sign {
        " " | "?" => {
            let (name, value) = field(rest)?;
            case.requests.last_mut()?.fields.push((name, value, sign == "?"));
        }
        "+" => {
            let (times, rest) = rest.split_once(' ')?;
            let (name, value) = field(rest)?;
            let same = std::iter::repeat_n((name, value, false), times.parse().ok()?);
            case.requests.last_mut()?.fields.extend(same);
        }
        "." => case.requests.last_mut()?.body += &latin1(&unescape(rest)?),
        "~" => case.requests.last_mut()?.trailers.push(field(rest)?),
        _ => {
            let line = latin1(&unescape(content)?);
            case.requests.push(Wanted { line, ..Wanted::default() });
        }
    }
    Some(())
}

/// Undoes what makes bytes readable.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => bytes.push(match chars.next()? {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).ok()?
                }
                other @ ('\\' | '{') => u8::try_from(u32::from(other)).ok()?,
                _ => return None,
            }),
            '{' => {
                let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let (what, times) = inside.rsplit_once('*')?;
                bytes.extend(unescape(what)?.repeat(times.parse().ok()?));
            }
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    Some(bytes)
}

/// The files, with their names.
pub const FILES: [(&str, &str); 6] = [
    ("lines", include_str!("../../data/rest/lines.txt")),
    ("fields", include_str!("../../data/rest/fields.txt")),
    ("framing", include_str!("../../data/rest/framing.txt")),
    ("chunks", include_str!("../../data/rest/chunks.txt")),
    ("hops", include_str!("../../data/rest/hops.txt")),
    ("identity", include_str!("../../data/rest/identity.txt")),
];

/// All cases; their names are their own.
#[track_caller]
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in FILES {
        for case in parse(text) {
            cases.push(Case { name: format!("{file}: {}", case.name), ..case });
        }
    }
    let mut names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        panic!("two cases are called {:?}", twice[0]);
    }
    cases
}

/// Bytes as a table of failures shows them.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 400;
    let text: String = bytes.iter().take(MOST).flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect();
    if bytes.len() > MOST { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::to_bytes;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        let text = "# no case\n== a name\n@ max_body_bytes 5\n> GET / HTTP/1.1\n> X: \\x0b\\{{ab*2}\\\n|\n>\n$\n\
                    < GET / HTTP/1.1\n<  X: *\n< ?Y: z\n< .b\\r\\n\n< ~T: u\n< cut\n= 200 400|501 close\n";
        let case = &parse(text)[0];
        assert_eq!(case.parts, [b"GET / HTTP/1.1\r\nX: \x0b{abab".to_vec(), b"\r\n".to_vec()]);
        assert_eq!(case.options["max_body_bytes"], 5);
        assert_eq!(case.statuses, [vec![200], vec![400, 501]]);
        assert!(case.ends && case.cut && case.closes && !case.any);
        let wanted = &case.requests[0];
        assert_eq!(wanted.fields.len(), 2);
        assert!(wanted.fields[1].2);
        assert_eq!((wanted.body.as_str(), wanted.trailers.len()), ("b\r\n", 1));
        assert_eq!(to_bytes(&wanted.line), b"GET / HTTP/1.1");
    }

    #[test]
    fn all_cases_can_be_read() {
        let cases = all();
        assert!(cases.len() >= 170, "only {}", cases.len());
    }
}
