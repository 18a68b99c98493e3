//! The task that keeps the engine's store the same as what this mesh holds. Whatever was told while there
//! was no connection is made good when there is one: all is listed, and what is not ours is deleted.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Held;
use super::wire::{Connection, Listed};
use crate::ids::LinkId;

/// Wait between two attempts to reach the engine's store.
const RETRY: Duration = Duration::from_secs(1);

/// What a link tells the store.
#[derive(Debug)]
pub(super) enum Told {
    Put(LinkId),
    Del(String),
}

/// The task that talks to the engine.
pub(in crate::mesh) struct Keeper {
    path: PathBuf,
    held: Held,
    told: mpsc::UnboundedReceiver<Told>,
    listed: watch::Sender<bool>,
    store: Option<Connection>,
    retry_at: Instant,
    /// It was said that the store cannot be reached; not said again before it was.
    complained: bool,
}

impl Keeper {
    pub(super) fn new(
        path: PathBuf,
        held: Held,
        told: mpsc::UnboundedReceiver<Told>,
        listed: watch::Sender<bool>,
    ) -> Self {
        Self { path, held, told, listed, store: None, retry_at: Instant::now(), complained: false }
    }

    /// Keeps the store up to date until the mesh ends.
    pub(in crate::mesh) async fn run(mut self) {
        loop {
            let told = match &self.store {
                Some(store) => tokio::select! {
                    biased;
                    told = self.told.recv() => told,
                    () = store.gone() => {
                        self.lost(&io::ErrorKind::UnexpectedEof.into());
                        continue;
                    }
                },
                None => tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(self.retry_at) => {
                        self.reach().await;
                        continue;
                    }
                    told = self.told.recv() => told,
                },
            };
            match told {
                Some(told) => self.tell(&told).await,
                None => break,
            }
        }
        if self.store.is_none() {
            // What was deleted meanwhile is deleted now or never.
            self.reach().await;
        }
    }

    async fn tell(&mut self, told: &Told) {
        // What cannot be told is made good by the next `open`.
        let Some(store) = &self.store else { return };
        let done = match told {
            Told::Put(id) => {
                let saved = self.held.lock().saved.get(id).cloned();
                match saved {
                    Some((meta, listener)) => store.put(&id.to_string(), &meta, &listener).await,
                    None => Ok(()),
                }
            }
            Told::Del(name) => store.del(name).await,
        };
        if let Err(error) = done {
            self.lost(&error);
        }
    }

    /// Tries to get a connection on which the store was made to agree.
    async fn reach(&mut self) {
        match self.open().await {
            Ok(store) => {
                tracing::info!(path = %self.path.display(), "connected to the fd store");
                self.store = Some(store);
                self.complained = false;
            }
            Err(error) => self.lost(&error),
        }
        self.listed.send_replace(true);
    }

    fn lost(&mut self, error: &io::Error) {
        self.store = None;
        self.retry_at = Instant::now() + RETRY;
        if std::mem::replace(&mut self.complained, true) {
            tracing::debug!(%error, "still no fd store");
        } else {
            tracing::warn!(%error, path = %self.path.display(),
                "no fd store: listeners do not survive a crash of the mesh (is the engine there? --fdstore none)");
        }
    }

    /// Connects, takes in what is there, deletes what is nobody's, and puts all that the mesh has.
    async fn open(&self) -> io::Result<Connection> {
        let store = Connection::open(&self.path)?;
        let obsolete = self.take_in(store.list().await?);
        for name in obsolete {
            store.del(&name).await?;
        }
        let saved: Vec<_> = {
            let state = self.held.lock();
            state.saved.iter().map(|(id, (meta, listener))| (*id, meta.clone(), listener.clone())).collect()
        };
        for (id, meta, listener) in saved {
            store.put(&id.to_string(), &meta, &listener).await?;
        }
        Ok(store)
    }

    /// Keeps for the links what they may take over; gives the names of the rest.
    fn take_in(&self, listed: Listed) -> Vec<String> {
        let mut obsolete = listed.useless;
        let mut state = self.held.lock();
        let saved: HashSet<_> = state.saved.keys().map(ToString::to_string).collect();
        for (name, meta, listener) in listed.entries {
            if saved.contains(&name) || state.inherited.contains_key(&name) {
                continue;
            }
            if state.may_inherit(&name) {
                state.inherited.insert(name, (meta, listener));
            } else {
                obsolete.push(name);
            }
        }
        obsolete
    }
}
