//! Loads an object into the kernel that runs, so that its verifier judges every program, and lets it go again.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use anyhow::{Context as _, anyhow, bail};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};

use super::elf::Contents;

/// What the kernel said.
#[derive(Debug)]
pub(super) enum Verdicts {
    /// Of each program, by name.
    Judged(BTreeMap<String, Verdict>),
    /// It judges nothing for us.
    NotPermitted(String),
}

/// What the kernel said of one program.
#[derive(Debug)]
pub(super) enum Verdict {
    Loaded {
        /// Instructions that the verifier walked through, over all branches.
        verified: Option<u32>,
        /// Bytes of machine code.
        jitted: u32,
    },
    NotPermitted(String),
}

/// Creates the maps and loads the programs; it is an error if the verifier refuses one.
pub(super) fn load(object: &[u8], contents: &Contents) -> anyhow::Result<Verdicts> {
    let mut loaded = match EbpfLoader::new().load(object) {
        Ok(loaded) => loaded,
        Err(error) if is_forbidden(&error) => return Ok(Verdicts::NotPermitted(causes(&error))),
        Err(error) => bail!("the kernel does not take the object: {}", causes(&error)),
    };
    let judge = |name: &str| {
        let verdict = judge(&mut loaded, name).with_context(|| format!("program {name}"))?;
        Ok((name.to_owned(), verdict))
    };
    contents
        .programs
        .iter()
        .map(|code| &*code.name)
        .map(judge)
        .collect::<anyhow::Result<_>>()
        .map(Verdicts::Judged)
}

fn judge(loaded: &mut Ebpf, name: &str) -> anyhow::Result<Verdict> {
    let program = loaded.program_mut(name).context("is not known to the loader")?;
    match verify(program)? {
        Ok(()) => {
            let info = program.info()?;
            Ok(Verdict::Loaded { verified: info.verified_instruction_count(), jitted: info.size_jitted() })
        }
        Err(error) if is_forbidden(&error) => Ok(Verdict::NotPermitted(causes(&error))),
        // With the verifier's log, whose last lines say why.
        Err(error) => Err(anyhow!("refused by the kernel: {error}")),
    }
}

fn verify(program: &mut Program) -> anyhow::Result<Result<(), ProgramError>> {
    Ok(match program {
        Program::SkSkb(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SockOps(program) => program.load(),
        other => bail!("is of a kind that is not loaded here yet: {:?}", other.prog_type()),
    })
}

/// Whether the kernel did not judge but forbid. (Of a program that the verifier refuses it says EACCES or EINVAL.)
fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    const NOT_PERMITTED: [rustix::io::Errno; 2] = [rustix::io::Errno::PERM, rustix::io::Errno::NOSYS];
    chain(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
        .any(|code| NOT_PERMITTED.iter().any(|it| it.raw_os_error() == code))
}

fn causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

impl Verdicts {
    /// A line for each program.
    pub(super) fn lines(&self, contents: &Contents) -> Vec<String> {
        let mut lines = Vec::new();
        for code in &contents.programs {
            let said = match self {
                Self::Judged(judged) => judged.get(&code.name).map(ToString::to_string).unwrap_or_default(),
                Self::NotPermitted(_) => "not verified".to_owned(),
            };
            lines.push(format!(
                "{} ({}): {} instructions; {said}",
                code.name, code.section, code.instructions
            ));
        }
        if let Self::NotPermitted(why) = self {
            lines.push(format!("loading is not permitted here: {why}"));
        }
        lines
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loaded { verified: Some(verified), jitted } => {
                write!(f, "verified over {verified} instructions, {jitted} bytes of machine code")
            }
            Self::Loaded { verified: None, .. } => f.write_str("verified"),
            Self::NotPermitted(why) => write!(f, "not verified, loading is not permitted here: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use aya::EbpfError;
    use aya::maps::MapError;

    use super::*;

    #[test]
    fn what_is_forbidden_is_no_refusal() {
        let failed = |code| {
            let io_error = io::Error::from_raw_os_error(code);
            EbpfError::MapError(MapError::CreateError { name: "FLOWS".to_owned(), io_error })
        };
        assert!(is_forbidden(&failed(rustix::io::Errno::PERM.raw_os_error())));
        assert!(!is_forbidden(&failed(rustix::io::Errno::ACCESS.raw_os_error())));
    }
}
