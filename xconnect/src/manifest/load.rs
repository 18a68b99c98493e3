//! A set of files into a revision: every file is read, and every error of every file is reported.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::container::ContainerManifest;
use super::device::{self, Device};
use super::error::{Error, Errors};
use super::json::{Malformed, Node, write_string};
use super::reader::{Report, UnknownKeys, Value};
use super::run::{self, RunBy, RunPart};
use super::services::{self, Services};
use super::{ARGS, Kind, RUN, Revision, classify};
use crate::ids::ContainerName;

/// Folders of a Pantavisor state that are no containers.
pub(super) const NO_CONTAINERS: [&str; 4] = ["bsp", "_sigs", "_config", "_hostconfig"];

/// Reads all manifests of a state directory.
///
/// `files` holds their contents by name relative to the state directory (`web/run.json`). Names that
/// [`classify`] does not know are passed over. Whether the folders that a manifest names exist is not
/// looked at.
///
/// # Errors
/// Everything that is wrong in each file by itself and between the files of one container. What is
/// wrong between containers is found by [`crate::graph::check`].
pub fn load(files: &BTreeMap<String, Vec<u8>>) -> Result<Revision, Errors> {
    load_as(files, RunBy::Engine)
}

/// As [`load`], for containers that somebody else runs and registers: `type` and all that says how to
/// run them is passed over, and their runtime is [`super::Runtime::External`].
///
/// # Errors
/// As [`load`].
pub fn load_external(files: &BTreeMap<String, Vec<u8>>) -> Result<Revision, Errors> {
    load_as(files, RunBy::Other)
}

/// One file as a tree.
struct Document<'f> {
    file: &'f str,
    node: Node,
}

fn load_as(files: &BTreeMap<String, Vec<u8>>, run_by: RunBy) -> Result<Revision, Errors> {
    let mut errors = Vec::new();
    let mut folders: BTreeMap<&str, BTreeMap<Kind, Document<'_>>> = BTreeMap::new();
    let mut device_document = None;
    for (file, bytes) in files {
        let Some((folder, kind)) = classify(file) else { continue };
        let node = Node::parse(bytes).map_err(|Malformed { path, message }| {
            errors.push(Error::new(file, path, message));
        });
        let document = node.ok().map(|node| Document { file, node });
        match folder {
            None => device_document = document,
            Some(folder) => {
                // The container counts as there even so, and its other files are read.
                let documents = folders.entry(folder).or_default();
                documents.extend(document.map(|document| (kind, document)));
            }
        }
    }
    let id = revision_id(device_document.iter().chain(folders.values().flat_map(BTreeMap::values)));
    let device = match &device_document {
        Some(document) => read_document(document, UnknownKeys::Refuse, &mut errors, device::read),
        None => Device::default(),
    };
    let mut containers = BTreeMap::new();
    for (folder, documents) in &folders {
        match container_name(folder) {
            Ok(name) => {
                let container = read_container(&name, documents, &device, run_by, &mut errors);
                containers.insert(name, container);
            }
            Err(message) => errors.push(Error::new(folder, "", message)),
        }
    }
    errors.sort_by(|a, b| a.file().cmp(b.file()));
    Errors::check(errors)?;
    Ok(Revision { containers, device, id })
}

fn container_name(folder: &str) -> Result<ContainerName, String> {
    let name = ContainerName::new(folder).map_err(|error| format!("the container's name {error}"))?;
    if name.is_host() {
        return Err(format!("the container's name must not be \"{name}\", which stands for the host"));
    }
    Ok(name)
}

fn read_document<T>(
    document: &Document<'_>,
    unknown_keys: UnknownKeys,
    errors: &mut Vec<Error>,
    read: impl FnOnce(&Value<'_>) -> T,
) -> T {
    let report = Report::new(document.file, unknown_keys);
    let value = read(&report.root(&document.node));
    errors.extend(report.into_errors());
    value
}

fn read_container(
    name: &ContainerName,
    documents: &BTreeMap<Kind, Document<'_>>,
    device: &Device,
    run_by: RunBy,
    errors: &mut Vec<Error>,
) -> ContainerManifest {
    let mut read = |kind: Kind, unknown_keys, read: &dyn Fn(&Value<'_>) -> RunPart| {
        documents.get(&kind).map(|document| read_document(document, unknown_keys, errors, read))
    };
    let run = read(Kind::Run, UnknownKeys::Pass, &|root| run::read_run(root, name, run_by));
    let args = read(Kind::Args, UnknownKeys::Pass, &run::read_args);
    // An OCI configuration is the runtime's business; here it must only be an object.
    read(Kind::Config, UnknownKeys::Pass, &|root| {
        root.object();
        RunPart::default()
    });
    let services = documents.get(&Kind::Services).map_or_else(Services::default, |document| {
        read_document(document, UnknownKeys::Refuse, errors, services::read)
    });
    let file = |file: &str| format!("{name}/{file}");
    let group_file = if run.as_ref().is_some_and(|run| run.group.is_some()) { RUN } else { ARGS };
    let mut part = run.unwrap_or_default();
    if let Some(args) = args {
        run::merge(&mut part, args, &mut |path, message| {
            errors.push(Error::new(file(ARGS), path, message));
        });
    }
    if run_by == RunBy::Other {
        part.runtime = Some(super::Runtime::External);
    }
    let has_config = documents.contains_key(&Kind::Config);
    let report = Report::new(&file(group_file), UnknownKeys::Pass);
    let container = ContainerManifest::assemble(name.clone(), part, services, has_config, device, &report);
    errors.extend(report.into_errors());
    container
}

/// SHA-256 over one JSON object with the file names as keys, in its canonical form: sorted keys, no
/// spaces. Two states with the same meaning as JSON are the same revision.
fn revision_id<'d>(documents: impl Iterator<Item = &'d Document<'d>>) -> String {
    let mut sorted: Vec<_> = documents.collect();
    sorted.sort_by_key(|document| document.file);
    let mut text = String::from("{");
    for (index, document) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(document.file, &mut text);
        text.push(':');
        document.node.write_canonical(&mut text);
    }
    text.push('}');
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
