//! Which programs of a release are linked, and whether they can run here.

use reconcile::format::elf;
use reconcile::model::HostFacts;
use reconcile::model::facts::{Arch, Libc};
use reconcile::model::manifest::Binary;
use reconcile::model::step::Binaries;
use reconcile::unpack::{BinariesError, CannotRun, Program, UnpackError, can_run};

use crate::archives::{SCRIPT, Tar, World, assert_disk_agrees, listing};

fn link(name: &str, path: &str) -> Binary {
    Binary { name: name.to_owned(), path: path.to_owned() }
}

fn chosen(binaries: Binaries, tar: Tar) -> Result<Vec<Binary>, BinariesError> {
    let mut world = World::new();
    world.rules.binaries = binaries;
    match world.unpack("t.tar", &tar.end()) {
        Ok(unpacked) => Ok(unpacked.binaries),
        Err(UnpackError::Binaries(error)) => {
            assert!(!world.staging().exists());
            Err(error)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn auto_links_programs_and_nothing_else() {
    let tar = Tar::default()
        .file("bin/tool", 0o755, SCRIPT)
        .file("bin/.hidden", 0o755, SCRIPT)
        .file("bin/data", 0o755, b"data")
        .file("bin/not-executable", 0o644, SCRIPT)
        .file("lib/libtool.so.1", 0o755, b"\x7fELF")
        .file("a/b/c/deep-enough", 0o755, SCRIPT)
        .file("a/b/c/d/too-deep", 0o755, SCRIPT);
    let expected = vec![link("deep-enough", "a/b/c/deep-enough"), link("tool", "bin/tool")];
    assert_eq!(chosen(Binaries::Auto, tar), Ok(expected));
}

#[test]
fn two_programs_of_one_name_are_refused_by_auto_only() {
    let tar = Tar::default().file("a/tool", 0o755, SCRIPT).file("b/tool", 0o755, SCRIPT);
    let error = BinariesError::SameName {
        name: "tool".to_owned(),
        first: "a/tool".to_owned(),
        second: "b/tool".to_owned(),
    };
    assert_eq!(chosen(Binaries::Auto, tar.clone()), Err(error));
    assert_eq!(chosen(Binaries::AnyExecutable, tar), Ok(vec![link("tool", "b/tool")]));
}

#[test]
fn release_without_a_program_is_refused_by_auto() {
    let tar = Tar::default().file("README", 0o644, b"").file("x.txt", 0o755, b"");
    let error = chosen(Binaries::Auto, tar).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no program to link is in the release; it holds `README`, `x.txt`: \
         name the programs under `binaries`"
    );
}

#[test]
fn listed_programs_are_found_by_path_name_decoration_or_alone() {
    let listed = |wanted: &str| Binaries::Listed(vec![link("rg", wanted)]);
    let exact = || Tar::default().file("a/rg", 0o644, SCRIPT).file("b/rg", 0o755, SCRIPT);
    assert_eq!(chosen(listed("a/rg"), exact()), Ok(vec![link("rg", "a/rg")]));
    let error = chosen(listed("rg"), exact()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`rg` could be any of `a/rg`, `b/rg`: write its path under `binaries`"
    );
    let once = Tar::default().file("x/rg", 0o755, SCRIPT).file("doc/rg/README", 0o644, b"");
    assert_eq!(chosen(listed("rg"), once), Ok(vec![link("rg", "x/rg")]));
    let program_wins = Tar::default().file("x/rg", 0o755, SCRIPT).file("complete/rg", 0o644, b"");
    assert_eq!(chosen(listed("rg"), program_wins), Ok(vec![link("rg", "x/rg")]));
    let name = "rg-15.1.0-x86_64-unknown-linux-musl";
    let decorated = Tar::default().file(name, 0o755, SCRIPT).file("rg-helper", 0o755, SCRIPT);
    assert_eq!(chosen(listed("rg"), decorated), Ok(vec![link("rg", name)]));
    let alone = Tar::default().file("other", 0o755, b"\x7fELF").file("rg.1", 0o644, b"");
    assert_eq!(chosen(listed("rg"), alone), Ok(vec![link("rg", "other")]));
    let none = Tar::default().file("a", 0o755, SCRIPT).file("b", 0o755, SCRIPT);
    let error = chosen(listed("rg"), none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no program `rg` is in the release; it holds `a`, `b`: name the programs under `binaries`"
    );
}

#[test]
fn listed_program_becomes_executable() {
    let mut world = World::new();
    world.rules.binaries = Binaries::Listed(vec![link("tool", "tool")]);
    let tar =
        Tar::default().file("tool", 0o644, SCRIPT).hard("t", "tool").file("README", 0o644, b"");
    let unpacked = world.unpack("t.tar", &tar.end()).unwrap();
    assert_disk_agrees(&world, &unpacked.entries);
    assert_eq!(listing(&unpacked.entries), ["f README", "x t", "x tool"]);
}

fn host() -> HostFacts {
    HostFacts {
        hostname: "host".to_owned(),
        arch: if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 },
        libc: Libc::Gnu,
        glibc: None,
        loaders: Vec::new(),
        agent: None,
        started: None,
        live: false,
    }
}

#[test]
fn programs_of_a_release_are_looked_into() {
    let mut world = World::new();
    world.rules.binaries = Binaries::Auto;
    let own = std::fs::read("/proc/self/exe").unwrap();
    let unpacked = world.unpack("tool-linux", &own).unwrap();
    assert_eq!(unpacked.binaries, [link("tool", "tool")]);
    let programs = &unpacked.programs;
    assert_eq!(programs[0].elf, elf::inspect(own.as_slice()).unwrap());
    assert_eq!(can_run(programs, &host()), Ok(()));
}

#[test]
fn programs_that_cannot_run_are_told_apart() {
    let elf = |machine, glibc, loader: Option<&str>| {
        let class = elf::Class::Bits64;
        let interpreter = loader.map(str::to_owned);
        vec![Program {
            path: "rg".to_owned(),
            elf: elf::Elf { class, machine, interpreter, glibc },
        }]
    };
    let mut facts = host();
    facts.arch = Arch::X86_64;
    facts.glibc = Some((2, 36));
    facts.loaders = vec!["/lib64/ld-linux-x86-64.so.2".to_owned()];
    let gnu = Some("/lib64/ld-linux-x86-64.so.2");
    let musl = Some("/lib/ld-musl-x86_64.so.1");
    assert_eq!(can_run(&elf(62, Some((2, 36)), gnu), &facts), Ok(()));
    assert_eq!(can_run(&elf(62, None, None), &facts), Ok(()));
    let error = can_run(&elf(62, Some((2, 39)), gnu), &facts).unwrap_err();
    assert!(error.to_string().starts_with("rg needs GLIBC_2.39, this host has 2.36"));
    let error = can_run(&elf(62, None, musl), &facts).unwrap_err();
    assert!(matches!(error, CannotRun::Loader { .. }));
    let error = can_run(&elf(183, None, gnu), &facts).unwrap_err();
    assert!(error.to_string().starts_with("rg is built for aarch64, this host is x86_64"));
    facts.loaders.clear();
    facts.glibc = None;
    assert_eq!(can_run(&elf(62, Some((9, 99)), musl), &facts), Ok(()));
}
