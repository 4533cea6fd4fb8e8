//! Whether the programs of a release can run on this host, by looking at them instead of trying.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::format::elf::{Class, Elf, ReadAt};
use crate::model::HostFacts;
use crate::model::facts::Arch;
use crate::unpack::Program;

/// Why a program cannot run here. A newer or older release, or a build for another C library, may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// Built for another processor.
    #[error("{program} is built for {built_for}, this host is {host}: choose another asset")]
    Machine {
        /// The program's path in the release.
        program: String,
        /// What it is built for.
        built_for: String,
        /// What runs here.
        host: &'static str,
    },
    /// Needs a program interpreter that is not here.
    #[error(
        "{program} needs the loader {loader}, which this host does not have: choose a static build or one for this host's C library"
    )]
    Loader {
        /// The program's path in the release.
        program: String,
        /// The loader's path.
        loader: String,
    },
    /// Needs a newer GNU libc.
    #[error("{program} needs GLIBC_{}.{}, this host has {}.{}: choose a static build or an older release", .needs.0, .needs.1, .has.0, .has.1)]
    Glibc {
        /// The program's path in the release.
        program: String,
        /// Lowest version it runs with.
        needs: (u32, u32),
        /// The version here.
        has: (u32, u32),
    },
}

/// Whether all `programs` can run on the host. What is not known about the host is not checked.
pub fn can_run(programs: &[Program], facts: &HostFacts) -> Result<(), CannotRun> {
    programs.iter().try_for_each(|program| check(program, facts))
}

fn check(Program { path, elf }: &Program, facts: &HostFacts) -> Result<(), CannotRun> {
    let program = || path.clone();
    if elf.class != Class::Bits64 || elf.machine != machine(facts.arch) {
        let (built_for, host) = (built_for(elf), facts.arch.name());
        return Err(CannotRun::Machine { program: program(), built_for, host });
    }
    if let Some(loader) = &elf.interpreter
        && !facts.loaders.is_empty()
        && !facts.loaders.contains(loader)
    {
        return Err(CannotRun::Loader { program: program(), loader: loader.clone() });
    }
    match (elf.glibc, facts.glibc) {
        (Some(needs), Some(has)) if needs > has => {
            Err(CannotRun::Glibc { program: program(), needs, has })
        }
        _ => Ok(()),
    }
}

/// ELF machine numbers (System V ABI, "Machine Information").
fn machine(arch: Arch) -> u16 {
    match arch {
        Arch::X86_64 => 62,
        Arch::Aarch64 => 183,
    }
}

/// The processor in words, for the ones that releases are built for.
fn built_for(elf: &Elf) -> String {
    let name = match (elf.machine, elf.class) {
        (62, Class::Bits64) => "x86_64",
        (62, Class::Bits32) => "x32",
        (183, _) => "aarch64",
        (3, _) => "32-bit x86",
        (40, _) => "32-bit ARM",
        (243, _) => "RISC-V",
        (21, _) => "64-bit PowerPC",
        (22, _) => "s390",
        (8, _) => "MIPS",
        (258, _) => "LoongArch",
        (other, _) => return format!("ELF machine {other}"),
    };
    name.to_owned()
}

impl ReadAt for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        // The kernel refuses offsets that are negative as signed numbers.
        if i64::try_from(offset).is_err() {
            return Ok(0);
        }
        let mut done = 0;
        while let Some(space) = into.get_mut(done..).filter(|space| !space.is_empty()) {
            match FileExt::read_at(self, space, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}
