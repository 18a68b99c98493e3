//! Reading requests. The mesh has judged them before: what comes here is well-formed.

use std::io::{self, BufRead, Read as _, Write};

/// Longest line, and largest body, in bytes.
const LINE_MAX: u64 = 64 << 10;
const BODY_MAX: u64 = 1 << 20;

/// A field's name and value.
pub(super) type Field = (String, String);

#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Vec<Field>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<Field>,
    /// Whether the connection is to be kept after the answer.
    pub(super) keeps: bool,
}

impl Request {
    /// Reads a request with its body; `None` where the client has no more. Who waits for leave to send a body gets
    /// it through `back`.
    ///
    /// # Errors
    /// The connection ended or failed; of the kind `InvalidData` where it is no request.
    pub(super) fn read(reader: &mut impl BufRead, back: &mut impl Write) -> io::Result<Option<Self>> {
        let Some(first) = line(reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong("no request line"));
        };
        if !version.starts_with("HTTP/1.") {
            return Err(wrong("not HTTP/1"));
        }
        let mut request = Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: fields(reader)?,
            ..Self::default()
        };
        let connection = request.all("connection").to_ascii_lowercase();
        request.keeps = version == "HTTP/1.1" && !connection.contains("close");
        if !request.all("expect").is_empty() {
            back.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if request.all("transfer-encoding").eq_ignore_ascii_case("chunked") {
            (request.body, request.trailers) = chunks(reader)?;
        } else if let Some((_, length)) = request.find("content-length") {
            let length = length.parse().map_err(|_| wrong("Content-Length is no number"))?;
            request.body = bytes(reader, length)?;
        }
        Ok(Some(request))
    }

    /// The target without its query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// All values of a field; empty where it is not there.
    pub(super) fn all(&self, name: &str) -> String {
        let values = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn find(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name))
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A line without its end; `None` where nothing more comes.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let Some(text) = line.strip_suffix(b"\r\n") else { return Err(wrong("a line without its end")) };
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// Fields up to the empty line.
fn fields(reader: &mut impl BufRead) -> io::Result<Vec<Field>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?.ok_or_else(|| wrong("the fields break off"))?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("a field without a colon"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn bytes(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > BODY_MAX {
        return Err(wrong("the body is too large"));
    }
    let mut body = Vec::new();
    if reader.by_ref().take(length).read_to_end(&mut body)? as u64 == length {
        Ok(body)
    } else {
        Err(wrong("the body breaks off"))
    }
}

/// A chunked body, and its trailers.
fn chunks(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Vec<Field>)> {
    let mut body = Vec::new();
    loop {
        let line = line(reader)?.ok_or_else(|| wrong("the chunks break off"))?;
        let size = line.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| wrong("a chunk without its size"))?;
        if size == 0 {
            return Ok((body, fields(reader)?));
        }
        body.extend(bytes(reader, size)?);
        if body.len() as u64 > BODY_MAX {
            return Err(wrong("the body is too large"));
        }
        if bytes(reader, 2)? != b"\r\n" {
            return Err(wrong("a chunk without its end"));
        }
    }
}
