//! Accepting consumers, within the limits, and spreading them over the threads.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::Interest;

use super::local::Local;
use super::shared::Admission;
use super::threads::{Command, Worker, duplicate, serve};
use crate::mesh::limiter::limited_in;
use crate::sys::register::register;
use crate::sys::socket;

/// First and longest pause in accepting where descriptors or memory are short.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// So many more connections than another thread has, and this one gives the next one away.
const UNEVEN: usize = 2;

/// Accepts for a link until it is aborted.
pub(super) async fn run(local: Rc<Local>, listener: Arc<OwnedFd>, workers: Arc<[Arc<Worker>]>, index: usize) {
    let link = &local.shared;
    let watched = match duplicate(&listener).and_then(|socket| register(socket, Interest::READABLE)) {
        Ok(watched) => watched,
        Err(error) => {
            tracing::error!(parent: &link.span(), %error, "cannot watch the listening socket");
            return;
        }
    };
    drop(listener);
    let mut pause = Duration::ZERO;
    loop {
        let Ok(mut guard) = watched.readable().await else { return };
        match socket::accept(watched.get_ref().as_fd()) {
            Ok(consumer) => {
                pause = Duration::ZERO;
                admit(&local, consumer, &workers, index);
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => guard.clear_ready(),
                // That consumer has gone: the next one may be there.
                Some(libc::ECONNABORTED | libc::EINTR | libc::EPERM) => {
                    tracing::debug!(parent: &link.span(), %error, "could not accept a connection");
                }
                // EMFILE, ENFILE, ENOBUFS, ENOMEM above all.
                _ => {
                    pause = (pause * 2).clamp(PAUSE.0, PAUSE.1);
                    limited_in!(warn, &link.span(), link.limiter, "pause", %error, "cannot accept connections, pausing");
                    tokio::time::sleep(pause).await;
                }
            },
        }
    }
}

fn admit(local: &Rc<Local>, consumer: OwnedFd, workers: &[Arc<Worker>], index: usize) {
    let link = &local.shared;
    let limit = link.limits.max_connections as usize;
    let reason = if link.open.load(Ordering::Acquire) >= limit {
        "it has as many connections as it may (max_connections)"
    } else if let Some(permit) = link.share.connection() {
        let admission = Admission::new(link, permit);
        let own = &workers[index];
        let load = |worker: &Arc<Worker>| worker.load.load(Ordering::Relaxed);
        return match workers.iter().min_by_key(|worker| load(worker)) {
            Some(other) if load(other) + UNEVEN <= load(own) => {
                other.post(Command::Consumer { link: link.number, socket: consumer, admission });
            }
            _ => serve(local, own, consumer, admission),
        };
    } else {
        "the other links need the descriptors that are left"
    };
    drop(consumer);
    link.counters.refused.fetch_add(1, Ordering::Relaxed);
    limited_in!(warn, &link.span(), link.limiter, reason, limit, "refused connections: {reason}");
}
