//! Making a container with libcontainer, up to the moment when its program was executed.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use serde_json::Value;

use crate::engine::container::{NetworkMode, RootfsSpec, RuntimeSpec};
use crate::engine::runtime::files::ContainerDir;
use crate::engine::runtime::{Error, Request, bundle, oci, root};
use crate::sys::process;

/// A container whose first process waits for leave to execute its program.
pub(super) struct Created {
    container: Container,
    exec_error: PipeReader,
    pub(super) pid: u32,
    pub(super) start: u64,
    /// The container's output.
    pub(super) output: [PipeReader; 2],
}

/// Makes the container's root and configuration, and its first process.
pub(super) fn create(dir: &ContainerDir, request: &Request) -> Result<Created, Error> {
    if request.network == NetworkMode::Pool {
        return Err(Error::Refused("network.mode: pool is not supported by the embedded runtime".to_owned()));
    }
    root::enter_private_namespace()?;
    let config = configure(dir, request)?;
    let bundle_dir = dir.bundle();
    fs::create_dir_all(&bundle_dir).map_err(Error::path("create", &bundle_dir))?;
    let path = bundle_dir.join("config.json");
    fs::write(&path, config.to_string()).map_err(Error::path("write", &path))?;

    let pipe = || io::pipe().map_err(Error::call("pipe"));
    let [(out, stdout), (err, stderr), (exec_error, exec_failed)] = [pipe()?, pipe()?, pipe()?];
    let container = ContainerBuilder::new(request.name.clone(), SyscallType::default())
        .with_root_path(dir.oci_state())?
        .with_stdout(stdout)
        .with_stderr(stderr)
        .with_executor(Exec { failed: Arc::new(exec_failed) })
        .as_init(&bundle_dir)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok());
    let pid = pid.ok_or_else(|| Error::Refused("the runtime made no process".to_owned()))?;
    let start = process::start_time(pid).map_err(Error::call("look at the container's first process"))?;
    let made = Created { container, exec_error, pid, start, output: [out, err] };
    if config["linux"]["namespaces"].as_array().is_some_and(|all| all.iter().any(is_new_network)) {
        process::loopback_up(pid).map_err(Error::call("set lo up"))?;
    }
    Ok(made)
}

fn is_new_network(namespace: &Value) -> bool {
    namespace["type"] == "network" && namespace["path"].is_null()
}

fn configure(dir: &ContainerDir, request: &Request) -> Result<Value, Error> {
    match &request.runtime {
        RuntimeSpec::Rootfs(spec) => {
            let owner = (outside(&spec.uid_map), outside(&spec.gid_map));
            let root = stack(dir, &spec.rootfs, owner, !spec.uid_map.is_empty())?;
            check(spec)?;
            Ok(oci::config(request, spec, &root))
        }
        RuntimeSpec::Bundle(path) => {
            let mut bundle = bundle::load(path)?;
            let mapped = bundle.config["linux"]["uidMappings"].is_array();
            let root = stack(dir, &bundle.rootfs, bundle.owner, mapped)?;
            bundle::adapt(request, path, &mut bundle, &root);
            Ok(bundle.config)
        }
        RuntimeSpec::External => Err(Error::Refused("another runtime runs this container".to_owned())),
    }
}

fn check(spec: &RootfsSpec) -> Result<(), Error> {
    if spec.exec.first().is_none_or(String::is_empty) {
        return Err(Error::Refused("exec: must name a program".to_owned()));
    }
    Ok(())
}

fn outside(map: &[crate::engine::container::IdMapping]) -> u32 {
    map.iter().find(|range| range.inside == 0).map_or(0, |range| range.outside)
}

fn stack(dir: &ContainerDir, lower: &Path, owner: (u32, u32), mapped: bool) -> Result<String, Error> {
    let root = root::stack(&dir.layers(), lower, owner)?;
    if mapped {
        root::check_reachable(&root, owner.0)?;
    }
    let text = root.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Refused(format!("{}: is not UTF-8", root.display())))
}

impl Created {
    /// Lets the program be executed, and waits until it was.
    pub(super) fn execute(&mut self) -> Result<(), Error> {
        self.container.start()?;
        let mut text = String::new();
        // The other end closes when the program is executed, or its process dies.
        self.exec_error.read_to_string(&mut text).map_err(Error::call("wait for the program"))?;
        if text.is_empty() { Ok(()) } else { Err(Error::Exec(text)) }
    }

    /// Removes the runtime's state, after running the bundle's hooks for that.
    pub(super) fn delete(&mut self) {
        // What it leaves is removed afterwards in any case.
        let _ = self.container.delete(true);
    }
}

/// Executes the program as libcontainer does, and tells the shim when that fails.
#[derive(Clone)]
struct Exec {
    failed: Arc<PipeWriter>,
}

impl Executor for Exec {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        process::default_signals();
        let result = DefaultExecutor {}.exec(spec);
        // The process ends right after this; there is nobody else to tell.
        let _ = (&*self.failed).write_all(explain(spec).as_bytes());
        result
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}

/// Why execve(2) refused a program that is there and may be executed. The library's own error is not
/// it: for what is no program, execvp(3) tries a shell, which a container need not have.
fn explain(spec: &Spec) -> String {
    let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
    let program = args.and_then(|args| args.first()).map_or("the program", String::as_str);
    format!(
        "cannot execute {program}: it is no program for this machine, or its loader or interpreter is missing"
    )
}
