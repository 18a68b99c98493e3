//! Where an answer goes. A thread writes, so that a slow reader of the output stops neither the upload
//! nor the clock.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use super::error::Error;

/// Pieces that may wait for the writer.
const BEHIND: usize = 4;

/// The writer's other end.
pub(in crate::cli) struct Sink {
    name: String,
    /// `None` after the end.
    pieces: Option<mpsc::Sender<Vec<u8>>>,
    result: oneshot::Receiver<io::Result<()>>,
}

impl Sink {
    /// Writes to a file, which is made with the first piece or at the end, or to standard output (no file,
    /// or `-`).
    pub(in crate::cli) fn new(file: Option<&Path>) -> Self {
        let file = file.filter(|path| *path != Path::new("-")).map(PathBuf::from);
        let name = file.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string());
        let (pieces, receiver) = mpsc::channel(BEHIND);
        let (sender, result) = oneshot::channel();
        std::thread::spawn(move || {
            // The other end may have gone at a time-out.
            drop(sender.send(write_all(file.as_deref(), receiver)));
        });
        Self { name, pieces: Some(pieces), result }
    }

    /// Hands a piece over, and waits while too many do.
    pub(super) async fn write(&mut self, piece: Vec<u8>) -> Result<(), Error> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { self.finish().await }
    }

    /// Waits until everything is written. A failure is told once.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        if self.pieces.take().is_none() {
            return Ok(());
        }
        let result = (&mut self.result).await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        result.map_err(|source| Error::Write { target: self.name.clone(), source })
    }
}

fn write_all(file: Option<&Path>, mut pieces: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut first = pieces.blocking_recv();
    let mut target: Box<dyn Write> = match file {
        // A failed transfer leaves a file of that name as it was.
        Some(_) if first.is_none() => return Ok(()),
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::stdout()),
    };
    while let Some(piece) = first {
        target.write_all(&piece)?;
        target.flush()?;
        first = pieces.blocking_recv();
    }
    Ok(())
}
