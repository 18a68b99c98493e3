//! The graph from a control socket: a stream of whole graphs from pv-appengine, polls of Pantavisor, which
//! cannot push.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper::Method;

use super::Outlet;
use crate::api::client::{Bounds, Client, Error, Lines};

/// The stream: one graph a line, first the present one.
const WATCH: &str = "/xconnect-graph?watch=1";
/// The present graph.
const ONCE: &str = "/xconnect-graph";
/// First and longest wait before a server that went away is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// After so long of polling the server is asked again whether it can stream.
const ASK_AGAIN: Duration = Duration::from_secs(60);

pub(super) async fn follow(socket: &Path, poll_interval: Duration, outlet: &Outlet) {
    let bounds = Bounds { total: Duration::from_secs(30), ..Bounds::default() };
    let client = Client::new(vec![socket.to_owned()], bounds);
    let mut wait = RETRY.0;
    loop {
        match client.lines(WATCH).await {
            Ok(mut lines) if lines.content_type().starts_with("application/x-ndjson") => {
                if stream(&mut lines, outlet).await {
                    wait = RETRY.0;
                }
            }
            Ok(_) | Err(Error::Refused { .. }) => {
                poll(&client, poll_interval, outlet).await;
            }
            Err(error) => outlet.complain("stream", crate::mesh::chain(&error)),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

/// Takes graphs from a stream until it ends. True if there was at least one.
async fn stream(lines: &mut Lines, outlet: &Outlet) -> bool {
    let mut any = false;
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                any = true;
                outlet.take("stream", &line);
            }
            Ok(None) => {
                outlet.complain("stream", "the control socket ended the stream".to_owned());
                return any;
            }
            Err(error) => {
                outlet.complain("stream", crate::mesh::chain(&error));
                return any;
            }
        }
    }
}

/// Polls until the server cannot be reached, or for so long that it may have learnt to stream.
async fn poll(client: &Client, interval: Duration, outlet: &Outlet) {
    let began = Instant::now();
    while began.elapsed() < ASK_AGAIN {
        match client.request(&Method::GET, ONCE, None).await {
            Ok(answer) if answer.status == 200 => outlet.take("poll", &answer.body),
            Ok(answer) => outlet.complain("poll", format!("the control socket answers {}", answer.status)),
            Err(error) => {
                outlet.complain("poll", crate::mesh::chain(&error));
                return;
            }
        }
        tokio::time::sleep(interval).await;
    }
}
