//! From an object to programs that run.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use aya::maps::{Map as AyaMap, MapData, MapError, SockHash};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::sk_skb::SkSkbLink;
use aya::programs::{ProgramError, RawTracePoint, SkSkb};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod, VerifierLogLevel};
use xconnect_common::{Flow, Offsets, Traced};

use super::super::btf;
use super::super::reports::Reports;
use super::super::slots::Slots;
use super::super::unavailable::Unavailable;
use super::{Features, KernelPath, cookie};
use crate::sys::bpf::Map;
use crate::sys::memory::{Contents, SharedArray};

/// Programs for tracepoints, with the tracepoints.
const TRACEPOINTS: [(&str, &str); 3] =
    [("data_ready", "sk_data_ready"), ("sent", "sock_send_length"), ("received", "sock_recv_length")];

/// The kernel's types are some 6 MB.
const TYPES_LIMIT: usize = 128 << 20;

/// Loads without trying.
pub(super) fn load(object: &[u8], flows: u32, types: &Path) -> Result<KernelPath, Unavailable> {
    let offsets = offsets(types)?;
    let (fence, fence_source) =
        UnixStream::pair().map_err(|error| Unavailable::call("make a pair of sockets", error))?;
    let mut secret = [0; 16];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Unavailable::call("get random bytes", error.into()))?;
    let mut ebpf = prepare(object, flows, cookie(&fence)?, offsets)?;
    // Until they are loaded, programs name their maps by the descriptors that `ebpf` holds.
    let verdict = verdict(&mut ebpf)?;
    let tracepoints = trace(&mut ebpf);
    let gates = take(&mut ebpf, "GATES")?;
    let gates = SharedArray::map(gates.fd().as_fd(), flows as usize + 2)
        .map_err(|error| Unavailable::call("map the gates", error))?;
    let sources = own(&take(&mut ebpf, "SOURCES")?, "SOURCES")?;
    let targets = own(&take(&mut ebpf, "TARGETS")?, "TARGETS")?;
    let flow_map = own::<_, Flow>(&take(&mut ebpf, "FLOWS")?, "FLOWS")?;
    let traced = own::<_, Traced>(&take(&mut ebpf, "TRACED")?, "TRACED")?;
    let features = Features { refuses_rights: false, traced: tracepoints.is_some() };
    let path = KernelPath {
        _verdict: verdict,
        _tracepoints: tracepoints.unwrap_or_default(),
        sources,
        targets,
        flows: flow_map,
        traced,
        gates,
        count: flows,
        fence,
        _fence_source: fence_source,
        secret: [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|byte| secret[at + byte]))),
        fences: AtomicU64::new(1),
        slots: Mutex::new(Slots::new(flows)),
        reports: Mutex::new(Reports::of(&mut ebpf)),
        features,
    };
    path.region().reach(flows as usize + 1).map_err(|error| Unavailable::call("map the gates", error))?;
    path.region().reach(flows as usize).map_err(|error| Unavailable::call("map the gates", error))?;
    path.add_source(cookie(&path._fence_source)?, path._fence_source.as_fd())
        .map_err(|error| Unavailable::call("put a Unix stream into a map of sockets", error))?;
    Ok(path)
}

fn offsets(types: &Path) -> Result<Offsets, Unavailable> {
    let fail = |why: String| Unavailable::NoTypes { path: types.to_owned(), why };
    let mut file = File::open(types).map_err(|error| fail(error.to_string()))?;
    let contents = Contents::read(&mut file, TYPES_LIMIT).map_err(|error| fail(error.to_string()))?;
    btf::offsets(&contents).map_err(|error| fail(error.to_string()))
}

/// Reads the object and makes its maps.
fn prepare(object: &[u8], flows: u32, fence: u64, offsets: Offsets) -> Result<Ebpf, Unavailable> {
    // One more flow for the self-test, one more source for fences, and two targets for each flow. Traced are, of
    // each connection, that is of two flows, our two sockets and the two senders'.
    let one_more = flows.saturating_add(1);
    let twice = one_more.saturating_mul(2);
    let load = || {
        EbpfLoader::new()
            .btf(None)
            // Of a refused program the verifier tells the reason, not each instruction it looked at.
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global("FENCE", &fence, true)
            .override_global("OFFSETS", &offsets, true)
            .override_global("CONTROL", &one_more, true)
            .map_max_entries("SOURCES", one_more.saturating_add(1))
            .map_max_entries("TARGETS", twice)
            .map_max_entries("FLOWS", one_more)
            .map_max_entries("TRACED", twice.saturating_add(one_more))
            .map_max_entries("GATES", one_more.saturating_add(1))
            .load(object)
    };
    // The reader of objects is made for those of compilers; this one may be anything.
    match catch_unwind(AssertUnwindSafe(load)) {
        Ok(Ok(ebpf)) => Ok(ebpf),
        Ok(Err(EbpfError::MapError(error))) => Err(map_error(error)),
        Ok(Err(error)) => Err(Unavailable::BrokenObject(line(&crate::api::error::chain(&error)))),
        Err(_) => Err(Unavailable::BrokenObject("it is none of a compiler's".to_owned())),
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Unavailable> {
    match ebpf.take_map(name) {
        Some(AyaMap::Array(data) | AyaMap::HashMap(data) | AyaMap::SockHash(data)) => Ok(data),
        Some(_) => Err(Unavailable::BrokenObject(format!("the map {name} is of another kind"))),
        None => Err(Unavailable::BrokenObject(format!("it has no map {name}"))),
    }
}

/// A descriptor of our own, with the sizes checked.
fn own<K: Pod, V: Pod>(data: &MapData, name: &str) -> Result<Map<K, V>, Unavailable> {
    let info = data.info().map_err(map_error)?;
    let fd = data.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| Unavailable::call("duplicate a descriptor", error))?;
    Map::new(fd, info.key_size(), info.value_size())
        .map_err(|_| Unavailable::BrokenObject(format!("the map {name} has entries of another size")))
}

/// Loads the verdict, and attaches it to the sources.
fn verdict(ebpf: &mut Ebpf) -> Result<SkSkbLink, Unavailable> {
    const NAME: &str = "verdict";
    let sources =
        ebpf.map("SOURCES").ok_or_else(|| Unavailable::BrokenObject("it has no map SOURCES".to_owned()))?;
    let sources: SockHash<&MapData, u64> = sources.try_into().map_err(map_error)?;
    let sources =
        sources.fd().try_clone().map_err(|error| Unavailable::call("duplicate a descriptor", error))?;
    let program: &mut SkSkb = ebpf
        .program_mut(NAME)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| Unavailable::BrokenObject(format!("it has no program {NAME} for streams")))?;
    program.load().map_err(|error| program_error(NAME, error))?;
    let id = program.attach(&sources).map_err(|error| program_error(NAME, error))?;
    program.take_link(id).map_err(|error| program_error(NAME, error))
}

/// Attaches both tracepoints, or none: half of what they tell is of no use.
fn trace(ebpf: &mut Ebpf) -> Option<Vec<RawTracePointLink>> {
    let attach = |(name, tracepoint): (&'static str, &str)| {
        let program: &mut RawTracePoint = ebpf
            .program_mut(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| Unavailable::BrokenObject(format!("it has no program {name} for a tracepoint")))?;
        program.load().map_err(|error| program_error(name, error))?;
        let id = program.attach(tracepoint).map_err(|error| program_error(name, error))?;
        program.take_link(id).map_err(|error| program_error(name, error))
    };
    match TRACEPOINTS.into_iter().map(attach).collect() {
        Ok(links) => Some(links),
        Err(error) => {
            tracing::info!(reason = error.reason(), "the kernel's tracepoints for sockets cannot be used");
            None
        }
    }
}

fn map_error(error: MapError) -> Unavailable {
    match error {
        MapError::CreateError { name, io_error } => {
            Unavailable::call(format!("create the map {name}"), io_error)
        }
        MapError::SyscallError(error) => {
            Unavailable::call(format!("use a map ({})", error.call), error.io_error)
        }
        MapError::IoError(error) => Unavailable::call("use a map", error),
        error => Unavailable::BrokenObject(line(&crate::api::error::chain(&error))),
    }
}

fn program_error(program: &'static str, error: ProgramError) -> Unavailable {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            match verdict_of(&log) {
                Some(why) => {
                    tracing::debug!(program, "the end of the verifier's log:\n{}", end(&log));
                    Unavailable::Refused { program, why }
                }
                None => Unavailable::call(format!("load the program {program}"), io_error),
            }
        }
        ProgramError::SyscallError(error) => {
            Unavailable::call(format!("attach the program {program} ({})", error.call), error.io_error)
        }
        ProgramError::IOError(error) => Unavailable::call(format!("load the program {program}"), error),
        ProgramError::MapError(error) => map_error(error),
        error => Unavailable::Refused { program, why: line(&crate::api::error::chain(&error)) },
    }
}

/// The verifier's last word: the last line that is none of its statistics.
fn verdict_of(log: &str) -> Option<String> {
    const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "insns_stats"];
    let told = |text: &&str| !text.is_empty() && !STATISTICS.iter().any(|start| text.starts_with(start));
    log.lines().rev().map(str::trim).find(told).map(line)
}

/// The last lines, a few thousand characters at most.
fn end(log: &str) -> String {
    let mut lines: Vec<_> = log.lines().rev().take(20).map(line).collect();
    lines.reverse();
    lines.join("\n")
}

/// One line, and not a long one.
fn line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_reason_is_the_verifiers_last_word() {
        let log =
            "0: R1=ctx() R10=fp0\nR0 !read_ok\nverification time 10 usec\nstack depth 0\nprocessed 1 insns\n";
        assert_eq!(verdict_of(log).as_deref(), Some("R0 !read_ok"));
        assert_eq!(verdict_of("processed 0 insns\n"), None);
        assert_eq!(verdict_of(""), None);
        assert_eq!(verdict_of(&"x".repeat(1 << 20)).unwrap().len(), 200);
    }

    #[test]
    fn what_takes_a_privilege_says_which() {
        let error = |errno| {
            let io_error = io::Error::from_raw_os_error(errno);
            map_error(MapError::CreateError { name: "FLOWS".to_owned(), io_error }).reason()
        };
        assert!(
            error(libc::EPERM).contains("create the map FLOWS") && error(libc::EPERM).contains("CAP_BPF")
        );
        assert!(error(libc::ENOSYS).contains("CAP_BPF"));
        assert!(!error(libc::ENOMEM).contains("CAP_BPF") && error(libc::ENOMEM).contains("FLOWS"));
    }
}
