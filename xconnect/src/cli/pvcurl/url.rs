//! The URL of a request over a Unix socket: the host is a header only.

use super::error::Error;

/// Host and request target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// The `Host` header.
    pub(super) host: String,
    /// Path and query, beginning with a slash.
    pub(super) target: String,
}

impl Url {
    /// Takes `http://host[:port]/path?query#fragment`, `host/path`, and, as upstream's pvcurl, `/path`.
    ///
    /// # Errors
    /// Another protocol, no host, credentials, or bytes that cannot stand in a request.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Url("it is empty"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80) {
            return Err(Error::Url("it holds a space or a control character"));
        }
        if text.starts_with('/') {
            let target = text.split('#').next().unwrap_or_default();
            return Ok(Self { host: "localhost".to_owned(), target: target.to_owned() });
        }
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if is_scheme(scheme) => {
                return Err(Error::Protocol { scheme: scheme.to_owned() });
            }
            Some(_) | None => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if host.is_empty() {
            return Err(Error::Url("it has no host"));
        }
        if host.contains('@') {
            return Err(Error::Url("credentials belong in a header (-H 'Authorization: …')"));
        }
        let bare = !host.starts_with('[');
        if bare && host.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(Error::Url("its port is not a number"));
        }
        let host = host.strip_suffix(":80").unwrap_or(host).to_owned();
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host, target })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parts = |text| Url::parse(text).map(|url| (url.host, url.target)).map_err(|error| error.code());
        let ok = |host: &str, target: &str| Ok((host.to_owned(), target.to_owned()));
        assert_eq!(parts("http://localhost/a?b=c#d"), ok("localhost", "/a?b=c"));
        assert_eq!(parts("HTTP://h:8080"), ok("h:8080", "/"));
        assert_eq!(parts("http://h:80?x"), ok("h", "/?x"));
        assert_eq!(parts("localhost/x://y"), ok("localhost", "/x://y"));
        assert_eq!(parts("/a#b"), ok("localhost", "/a"));
        assert_eq!(parts("http://[::1]:9/"), ok("[::1]:9", "/"));
        assert_eq!(parts("https://h/"), Err(1));
        for bad in ["", "http://", "http:///x", "http://h/a b", "http://h/\n", "http://u:p@h/", "http://h:x/"]
        {
            assert_eq!(parts(bad), Err(3), "{bad}");
        }
    }
}
