//! A request's target into the one path that it means.

use std::borrow::Cow;

/// Longest path that is compared with rules, in bytes: it bounds the time that a hostile path can take.
const PATH_MAX: usize = 8192;

const CONTROL: &str = "the path has a control character";
const BACKSLASH: &str = "the path has a backslash";
const EMPTY: &str = "the path has an empty segment (//)";

/// The target without its query, decoded once, without dot-segments. `*` stays as it is.
///
/// Refused is whatever a provider could decode, split or shorten in another way than this.
pub(super) fn normal(target: &str) -> Result<Cow<'_, str>, &'static str> {
    if target == "*" {
        return Ok(Cow::Borrowed(target));
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if !path.starts_with('/') {
        return Err("the target is no path");
    }
    if path.len() > PATH_MAX {
        return Err("the path is longer than 8192 bytes");
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    if path.contains('#') {
        return Err("the path has a #");
    }
    let decoded = decode(path)?;
    judge(&decoded)?;
    without_dots(&decoded).map(Cow::Owned)
}

/// True where there is nothing to decode, to remove or to refuse.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let plain = match byte {
            b'%' | b'\\' | b'#' => false,
            // A dot-segment begins so, and so do hidden names, which take the longer way for it.
            b'/' | b'.' => before != b'/',
            _ => (0x21..0x7f).contains(&byte),
        };
        before = byte;
        plain
    })
}

fn decode(path: &str) -> Result<String, &'static str> {
    let bytes = path.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return Err("the path has an invalid percent-encoding");
        };
        match u8::try_from(high << 4 | low) {
            Ok(b'/') => return Err("the path has an encoded slash (%2F)"),
            Ok(byte) => decoded.push(byte),
            Err(_) => return Err("the path has an invalid percent-encoding"),
        }
        at += 3;
    }
    String::from_utf8(decoded).map_err(|_| "the path is not UTF-8 after decoding")
}

/// Refuses what is ambiguous in a decoded path.
fn judge(path: &str) -> Result<(), &'static str> {
    let hex = |at: usize| path.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    if path.contains(char::is_control) {
        Err(CONTROL)
    } else if path.contains('\\') {
        Err(BACKSLASH)
    } else if path.contains("//") {
        Err(EMPTY)
    } else if path.match_indices('%').any(|(at, _)| hex(at + 1) && hex(at + 2)) {
        Err("the path is encoded twice")
    } else if path.split('/').any(|segment| segment.starts_with(".;") || segment.starts_with("..;")) {
        Err("the path has a dot-segment with a parameter (..;)")
    } else {
        Ok(())
    }
}

/// As RFC 3986, section 5.2.4, but for `..` above the root, which is refused.
fn without_dots(path: &str) -> Result<String, &'static str> {
    let mut kept = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => match kept.rfind('/') {
                Some(start) => kept.truncate(start),
                None => return Err("the path leads above the root (..)"),
            },
            name => {
                kept.push('/');
                kept.push_str(name);
                continue;
            }
        }
        // A directory that is named by its dots ends in a slash.
        if last {
            kept.push('/');
        }
    }
    Ok(kept)
}
