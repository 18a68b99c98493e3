//! A new state of the directory: applied whole, or refused whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Hub, Inner, Remake, effective, links};
use crate::api::time::rfc3339;
use crate::api::types::{AuditEvent, Author, Changes, RefusedRevision};
use crate::engine::audit::Record;
use crate::engine::container::desired;
use crate::engine::state::{Applied, Files};
use crate::graph;
use crate::manifest::{self, Errors, Revision};

/// How a change of the directory is called in the audit log.
const VIA: &str = "state directory";

/// The manifests of a state directory, valid in themselves and together.
///
/// # Errors
/// All that is wrong, with file and place.
pub(in crate::engine) fn valid(files: &Files) -> Result<Revision, Errors> {
    let revision = manifest::load(&files.contents)?;
    graph::check(&revision)?;
    Ok(revision)
}

impl Hub {
    /// Puts a valid state of the directory in force. Waits for the disk, but lets nobody else wait. For
    /// one caller alone, the follower of the directory.
    pub(in crate::engine) fn apply(&self, files: &Files, revision: Revision) {
        let before = {
            let mut inner = self.lock();
            inner.refused = None;
            let same = inner.applied.as_ref().is_some_and(|applied| applied.revision == *revision.id());
            match (same, inner.supervised) {
                (true, true) => return,
                (true, false) => return self.put_in_force(&mut inner, revision),
                (false, _) => inner.applied.clone(),
            }
        };
        let record = self.record(before.as_ref(), files, &revision);
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let applied = Applied {
            revision: revision.id().clone(),
            since: rfc3339(SystemTime::now()),
            files: files.contents.iter().map(|(name, bytes)| (name.clone(), text(bytes))).collect(),
        };
        tracing::info!(revision = %revision.id(), containers = revision.containers().len(), "applied a revision");
        {
            let mut inner = self.lock();
            inner.applied = Some(applied.clone());
            self.put_in_force(&mut inner, revision);
        }
        if let Err(error) = applied.store(&self.data_dir) {
            tracing::error!(%error, dir = %self.data_dir.display(),
                "cannot keep the applied state: the next engine has only the directory to start from");
        }
        self.note(record);
    }

    /// Puts in force what was applied last, where the directory cannot be used at the start. True if
    /// there is such a state.
    pub(in crate::engine) fn resume(&self) -> bool {
        let mut inner = self.lock();
        if inner.supervised {
            return true;
        }
        let Some(applied) = &inner.applied else { return false };
        let files = Files { contents: applied.contents(), owners: BTreeMap::new() };
        match valid(&files) {
            Ok(revision) => {
                tracing::warn!(revision = %applied.revision, since = %applied.since, "going on with the revision that was applied last");
                self.put_in_force(&mut inner, revision);
                true
            }
            Err(errors) => {
                tracing::error!(%errors, "the revision that was applied last is not valid any more");
                inner.applied = None;
                false
            }
        }
    }

    /// Notes that the directory's present state cannot be applied; what is in force stays.
    pub(in crate::engine) fn refuse(&self, errors: &Errors) {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let mut inner = self.lock();
        if inner.refused.as_ref().is_some_and(|refused| refused.errors == errors) {
            return;
        }
        tracing::error!("the state directory is refused, nothing is changed:\n{}", errors.join("\n"));
        inner.refused = Some(RefusedRevision { since: rfc3339(SystemTime::now()), errors: errors.clone() });
        let from = inner.applied.as_ref().map(|applied| applied.revision.clone());
        drop(inner);
        self.note(Record {
            event: AuditEvent::Refused,
            author: Author { via: VIA.to_owned(), uids: Vec::new(), container: None, pid: None },
            from,
            to: None,
            files: Changes::default(),
            containers: Changes::default(),
            links: Changes::default(),
            errors,
        });
    }

    fn put_in_force(&self, inner: &mut Inner, revision: Revision) {
        self.give_way(inner, &revision);
        self.supervisor.apply(desired(&revision, &self.state_dir));
        inner.effective = Arc::new(effective(&revision, &inner.registered));
        inner.revision = revision;
        inner.supervised = true;
        self.remake(inner, Remake::Always);
    }

    /// What the audit log says of the step to `revision`.
    fn record(&self, before: Option<&Applied>, files: &Files, revision: &Revision) -> Record {
        let old_files = before.map(Applied::contents).unwrap_or_default();
        let old = before.and_then(|_| manifest::load(&old_files).ok()).unwrap_or_default();
        let changed = Changes::between(&old_files, &files.contents, String::clone);
        let mut uids: Vec<_> = changed
            .added
            .iter()
            .chain(&changed.changed)
            .filter_map(|file| files.owners.get(file).copied())
            .collect();
        uids.sort_unstable();
        uids.dedup();
        Record {
            event: AuditEvent::Applied,
            author: Author { via: VIA.to_owned(), uids, container: None, pid: None },
            from: before.map(|applied| applied.revision.clone()),
            to: Some(revision.id().clone()),
            files: changed,
            containers: Changes::between(old.containers(), revision.containers(), ToString::to_string),
            links: Changes::between(&links(&self.host, &old), &links(&self.host, revision), String::clone),
            errors: Vec::new(),
        }
    }

    /// Writes to the audit log. What was done stays done where the disk refuses.
    pub(super) fn note(&self, record: Record) {
        if let Err(error) = self.audit.append(record) {
            tracing::error!(error = %crate::engine::chain(&error), "a change is missing in the audit log");
        }
    }
}
