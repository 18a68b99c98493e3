//! Closing a connection on which the consumer may still be sending (RFC 9112 section 9.6).

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::buffer::Buffer;
use super::stream::Stream;

/// How long, and for how many bytes, what still comes is read and forgotten.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 4 << 20);

/// Says that nothing more comes, and takes what the consumer still sends, so that it gets to read its answer before
/// its own sending fails.
pub(super) async fn linger(consumer: &Stream) {
    consumer.end();
    let mut buffer = Buffer::default();
    let mut taken = 0;
    let drained = poll_fn(|cx| {
        loop {
            if consumer.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(room) = buffer.room() else { return Poll::Ready(()) };
            match consumer.poll_read(cx, room) {
                Poll::Ready(Ok(count)) if count > 0 && taken < LINGER.1 => taken += count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    // Whatever is left after that is the consumer's loss.
    let _ = tokio::time::timeout(LINGER.0, drained).await;
}
