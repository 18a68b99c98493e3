//! A connection as hyper reads and writes it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::opening::Opening;
use crate::mesh::edge::rest::buffer::Buffer;
use crate::mesh::edge::rest::shared::LinkShared;
use crate::mesh::edge::rest::stream::Stream;

/// Which way its reads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Consumer,
    Provider,
}

/// A connection, with what was read of it before.
pub(super) struct Io {
    stream: Stream,
    buffer: Buffer,
    link: Arc<LinkShared>,
    end: End,
    /// Where it is the provider's, and has not begun to speak.
    opening: Option<Opening>,
}

impl Io {
    pub(super) fn new(stream: Stream, buffer: Buffer, link: Arc<LinkShared>) -> Self {
        Self { stream, buffer, link, end: End::Consumer, opening: None }
    }

    pub(super) fn of_provider(stream: Stream, link: Arc<LinkShared>, opening: Opening) -> Self {
        let opening = Some(opening);
        Self { end: End::Provider, opening, ..Self::new(stream, Buffer::default(), link) }
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_empty() {
            if this.stream.poll_readable(cx).is_pending() {
                this.buffer.relax();
                return Poll::Pending;
            }
            let Some(room) = this.buffer.room() else { return Poll::Ready(Ok(())) };
            let count = ready!(this.stream.poll_read(cx, room))?;
            this.buffer.filled(count);
            if !Opening::saw(&mut this.opening, this.buffer.unread()) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "it is not HTTP/2")));
            }
            let counters = &this.link.counters;
            let counter = match this.end {
                End::Consumer => &counters.bytes_to_provider,
                End::Provider => &counters.bytes_to_consumer,
            };
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
        let count = this.buffer.len().min(into.remaining());
        into.put_slice(&this.buffer.unread()[..count]);
        this.buffer.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.relax();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.end();
        Poll::Ready(Ok(()))
    }
}
