//! A connection that has become one of another protocol: bytes both ways.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::time::Instant;

use super::body::{Framing, Pump};
use super::connection::Connection;
use super::upstream::Upstream;

/// Relays until both sides have ended, or one of them is gone.
pub(super) async fn relay(connection: &mut Connection, mut upstream: Upstream) {
    let Connection { local, consumer, input, deadline, .. } = connection;
    let link = &local.shared;
    let (mut there, mut back) = (Pump::new(Framing::Stream, u64::MAX), Pump::new(Framing::Stream, u64::MAX));
    let (mut there_over, mut back_over) = (false, false);
    let mut counted = (0, 0);
    deadline.set(Instant::now(), link.limits.idle_timeout);
    poll_fn(|cx| {
        let mut progress = false;
        let mut over = false;
        if !there_over {
            match there.poll(cx, consumer, input, &mut upstream.stream, &mut progress) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    there_over = true;
                    upstream.stream.end();
                }
                Poll::Ready(Err(_stop)) => over = true,
            }
        }
        if !back_over {
            match back.poll(cx, &upstream.stream, &mut upstream.buffer, consumer, &mut progress) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    back_over = true;
                    consumer.end();
                }
                Poll::Ready(Err(_stop)) => over = true,
            }
        }
        if progress {
            let (to_provider, to_consumer) = std::mem::replace(&mut counted, (there.moved, back.moved));
            link.counters.bytes_to_provider.fetch_add(there.moved - to_provider, Ordering::Relaxed);
            link.counters.bytes_to_consumer.fetch_add(back.moved - to_consumer, Ordering::Relaxed);
            deadline.set(Instant::now(), link.limits.idle_timeout);
        }
        // Who has ended its sending side still reads, until it is gone altogether.
        over |= there_over && (back_over || consumer.poll_gone(cx).is_ready());
        over |= back_over && upstream.stream.poll_gone(cx).is_ready();
        if over || deadline.poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
