//! A connection that has become one of another protocol: bytes both ways.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::body::{Framing, Pump};
use super::connection::Connection;
use super::stream::Stream;
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
        if !there_over {
            match there.poll(cx, consumer, input, &mut upstream.stream, &mut progress) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    there_over = true;
                    upstream.stream.end();
                }
                Poll::Ready(Err(_stop)) => return Poll::Ready(()),
            }
        }
        if !back_over {
            match back.poll(cx, &upstream.stream, &mut upstream.buffer, consumer, &mut progress) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    back_over = true;
                    consumer.end();
                }
                Poll::Ready(Err(_stop)) => return Poll::Ready(()),
            }
        }
        // Who has ended its sending side still reads, until it is gone altogether.
        if (there_over && is_gone(consumer, cx)) || (back_over && is_gone(&upstream.stream, cx)) {
            return Poll::Ready(());
        }
        if progress {
            let (to_provider, to_consumer) = std::mem::replace(&mut counted, (there.moved, back.moved));
            link.counters.bytes_to_provider.fetch_add(there.moved - to_provider, Ordering::Relaxed);
            link.counters.bytes_to_consumer.fetch_add(back.moved - to_consumer, Ordering::Relaxed);
            deadline.set(Instant::now(), link.limits.idle_timeout);
        }
        if (there_over && back_over) || deadline.poll(cx).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Whether the peer is gone; if not, an event tells.
fn is_gone(stream: &Stream, cx: &mut Context<'_>) -> bool {
    while stream.poll_readable(cx).is_ready() {
        if stream.is_gone() {
            return true;
        }
        stream.forget_readable(cx);
    }
    false
}
