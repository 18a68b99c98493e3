//! What a request carries: nothing, bytes, or a file that is read while it is sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tokio::sync::mpsc;

use super::error::Error;

/// Bytes that are read ahead: this many pieces.
const AHEAD: usize = 4;
const PIECE: usize = 64 * 1024;

/// The body of a request.
pub(in crate::cli) enum Upload {
    None,
    Bytes(Vec<u8>),
    /// Pieces of a file, and its length where it is known.
    Pieces {
        pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
        length: Option<u64>,
        name: String,
    },
}

impl Upload {
    /// A file, or standard input for `-`.
    ///
    /// # Errors
    /// [`Error::Read`] when it cannot be opened.
    pub(in crate::cli) fn file(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Ok(Self::reader(io::stdin(), None, "standard input".to_owned()));
        }
        let name = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, meta.is_file().then_some(meta.len())))
        };
        let (file, length) = open().map_err(|source| Error::Read { what: name.clone(), source })?;
        Ok(match length {
            // A file may grow while it is read: its announced length holds.
            Some(length) => Self::reader(file.take(length), Some(length), name),
            None => Self::reader(file, None, name),
        })
    }

    /// So many bytes of standard input.
    pub(in crate::cli) fn standard_input(length: u64) -> Self {
        Self::reader(io::stdin().take(length), Some(length), "standard input".to_owned())
    }

    /// Reads on a thread: files and pipes have no other way not to block. The thread ends with the reader,
    /// at the first piece that nobody takes, or with the process.
    fn reader(mut reader: impl Read + Send + 'static, length: Option<u64>, name: String) -> Self {
        let (sender, pieces) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let piece = match reader.read(&mut piece) {
                    Ok(0) => return,
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    return;
                }
            }
        });
        Self::Pieces { pieces, length, name }
    }

    /// Its length; `None` where it is known at the end only.
    pub(in crate::cli) fn length(&self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Pieces { length, .. } => *length,
        }
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Bytes(_) => {
                let Self::Bytes(bytes) = std::mem::replace(self, Self::None) else { return Ok(None) };
                Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
            }
            Self::Pieces { pieces, name, .. } => match pieces.recv().await {
                None => Ok(None),
                Some(Ok(piece)) => Ok(Some(piece)),
                Some(Err(source)) => Err(Error::Read { what: name.clone(), source }),
            },
        }
    }
}
