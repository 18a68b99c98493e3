//! What is wrong between containers, each valid in itself: every error, at the place that asks.

use std::collections::BTreeMap;

use super::resolve::{Found, Index};
use crate::ids::InsidePath;
use crate::manifest::{
    ContainerManifest, Device, Error, Errors, IngressKind, Necessity, Requirement, Revision, SERVICES,
    ServiceType, suggest,
};

/// Errors that come with a hint at the name that may have been meant: looking for it takes time.
const HINTS_MAX: usize = 100;

/// Checks a revision as a whole.
///
/// # Errors
/// Each required service that nobody provides, requirement that two containers answer, mismatch of
/// types, pair of targets that exclude each other in one container, name on a hosted bus with two
/// owners, and door for traffic from outside that leads nowhere.
pub fn check(revision: &Revision) -> Result<(), Errors> {
    let mut errors = Vec::new();
    let index = Index::new(revision);
    for consumer in revision.containers().values() {
        let mut targets = Vec::new();
        for requirement in consumer.requires() {
            check_requirement(revision, &index, consumer, requirement, &mut targets, &mut errors);
        }
        check_targets(&mut targets, &mut errors);
    }
    check_bus_names(revision, &mut errors);
    check_ingress(revision, &mut errors);
    errors.sort_by(|a, b| a.file().cmp(b.file()));
    Errors::check(errors)
}

fn at(requirement: &Requirement, message: impl std::fmt::Display) -> Error {
    Error::new(requirement.origin().file(), requirement.origin().path(), message)
}

fn field(requirement: &Requirement, field: &str, message: impl std::fmt::Display) -> Error {
    let path = format!("{}.{field}", requirement.origin().path());
    Error::new(requirement.origin().file(), path, message)
}

fn check_requirement<'r>(
    revision: &Revision,
    index: &Index<'_>,
    consumer: &ContainerManifest,
    requirement: &'r Requirement,
    targets: &mut Vec<(InsidePath, &'r Requirement)>,
    errors: &mut Vec<Error>,
) {
    let candidates = index.candidates(consumer.name(), requirement);
    if let Some(provider) = requirement.provider().filter(|name| !name.is_host())
        && !revision.containers().contains_key(provider)
        && requirement.necessity() == Necessity::Required
    {
        let names = revision.containers().keys().map(|name| name.as_str());
        let hint = hint(errors.len(), provider.as_str(), names);
        errors.push(field(
            requirement,
            "provider",
            format_args!("there is no container \"{provider}\"{hint}"),
        ));
        return;
    }
    let name = requirement.name();
    let found = match candidates[..] {
        [found] => found,
        [] if requirement.necessity() == Necessity::Optional => return,
        [] => {
            let by = match requirement.provider() {
                Some(provider) => format!("container \"{provider}\" does not provide \"{name}\""),
                None => format!("nobody provides \"{name}\""),
            };
            let names = index.names().filter(|other| *other != name.as_str());
            let hint = hint(errors.len(), name.as_str(), names);
            errors.push(at(requirement, format_args!("{by}{hint}")));
            return;
        }
        _ => {
            let providers: Vec<_> = candidates.iter().filter_map(|found| found.provider()).collect();
            errors.push(at(
                requirement,
                format_args!(
                    "\"{name}\" is provided by {}: name one as \"provider\"",
                    providers.join(" and ")
                ),
            ));
            return;
        }
    };
    let kind = found.kind();
    if kind.is_ingress() {
        errors.push(at(
            requirement,
            format_args!("\"{name}\" is of type {}, which only ingress can reach", kind.as_str()),
        ));
        return;
    }
    if let Some(wanted) = requirement.kind().filter(|wanted| *wanted != kind) {
        errors.push(field(
            requirement,
            "type",
            format_args!("is {}, but \"{name}\" is of type {}", wanted.as_str(), kind.as_str()),
        ));
    }
    targets.extend(requirement.target(found.device()).map(|target| (target, requirement)));
}

impl Found<'_> {
    fn provider(&self) -> Option<String> {
        match self {
            Self::Service(container, _) => Some(format!("\"{}\"", container.name())),
            Self::Control => None,
        }
    }
}

fn hint<'n>(errors: usize, word: &str, names: impl Iterator<Item = &'n str>) -> String {
    let near = if errors < HINTS_MAX { suggest(word, names) } else { None };
    near.map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default()
}

/// Two links cannot have one target, nor can a socket have another one below it.
fn check_targets(targets: &mut [(InsidePath, &Requirement)], errors: &mut Vec<Error>) {
    // Sorted by components, a path stands right before those below it; the sort is stable, so that of
    // equal ones the first in the manifest stays first.
    targets.sort_by(|(a, _), (b, _)| a.components().cmp(b.components()));
    let mut above: Option<(&InsidePath, &Requirement)> = None;
    for (target, requirement) in targets.iter() {
        if let Some((other, first)) = above {
            let place = format!("{}: {}", first.origin().file(), first.origin().path());
            if other == target {
                errors.push(field(
                    requirement,
                    "target",
                    format_args!("{target} is the target of {place} too"),
                ));
                continue;
            }
            if target.as_str().strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                let message = format_args!("{target} lies below {other}, the target of {place}");
                errors.push(field(requirement, "target", message));
                continue;
            }
        }
        above = Some((target, requirement));
    }
}

fn check_bus_names(revision: &Revision, errors: &mut Vec<Error>) {
    let mut owners = BTreeMap::new();
    for container in revision.containers().values() {
        for name in container.bus_names() {
            if let Some(owner) = owners.insert((name.bus(), name.owns()), container.name()) {
                let file = format!("{}/{SERVICES}", container.name());
                let message = format_args!("\"{}\" is owned by \"{owner}\" too", name.owns());
                errors.push(Error::new(file, format!("{}.owns", name.origin()), message));
            }
        }
    }
}

fn check_ingress(revision: &Revision, errors: &mut Vec<Error>) {
    let device: &Device = revision.device();
    for rule in device.ingress() {
        let mut error = |field: &str, message: String| {
            let path = format!("{}.{field}", rule.origin());
            errors.push(Error::new(crate::manifest::DEVICE, path, message));
        };
        let Some(provider) = revision.containers().get(rule.provider()) else {
            error("provider", format!("there is no container \"{}\"", rule.provider()));
            continue;
        };
        let Some(service) = provider.service(rule.service()) else {
            error(
                "service",
                format!("container \"{}\" does not provide \"{}\"", rule.provider(), rule.service()),
            );
            continue;
        };
        let kind = service.kind();
        let fits = match rule.kind() {
            IngressKind::Tcp => matches!(kind, ServiceType::Tcp | ServiceType::Http | ServiceType::Unix),
            IngressKind::Http => matches!(kind, ServiceType::Http | ServiceType::Rest | ServiceType::Tcp),
        };
        if !fits {
            let message =
                format!("\"{}\" is of type {}, which it cannot reach", service.name(), kind.as_str());
            error("type", message);
        }
    }
}
