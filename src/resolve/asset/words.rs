//! The vocabulary of release file names: what one word says about the platform.

/// What a word means. A word may mean several things: `alpine` is a distribution and a C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Names Linux.
    Linux,
    /// Names another operating system.
    OtherOs,
    /// Names one Linux distribution.
    Distro,
    /// Names a processor.
    Cpu(Cpu),
    /// An x86-64 level above the base level: not every processor runs it.
    Level,
    /// Runs on every processor of the architecture.
    Baseline,
    /// GNU libc.
    Gnu,
    /// musl.
    Musl,
    /// Statically linked.
    Static,
    /// Marks a file that is not the program: a debug build, documentation, a test.
    Noise,
    /// Marks an archive of source code.
    Source,
    /// Says nothing that tells two builds apart, though a name without it is preferred.
    Neutral,
    /// The vendor part of a target triple.
    Vendor,
    /// A number or a commit: part of some version.
    Number,
}

/// A processor as a name states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cpu {
    X86_64,
    Aarch64,
    /// Any other, and words that mean different ones to different publishers (`arm`, `x86`).
    Other,
}

const X86_64: &str = "\
    x8664 amd64 amd64v1 x8664v1 x64 64bit intel64";
const AARCH64: &str = "\
    aarch64 arm64 arm64v8 armv8 armv8a";
const LEVELS: &str = "\
    amd64v2 amd64v3 amd64v4 x8664v2 x8664v3 x8664v4";
const OTHER_CPUS: &str = "\
    i386 i486 i586 i686 386 486 586 686 x86 x32 32bit ia32 ia64 arm arm32 armhf armel \
    armeabi hf m68k hppa intel arm64ec arm64e armv9 aarch64be s390 z80 avr xtensa arm64v9";
const OTHER_CPU_STARTS: &str = "\
    arm5 arm6 arm7 armv4 armv5 armv6 armv7 armv8l mips ppc powerpc power8 power9 s390 riscv \
    loong sparc eabi thumb arm64v5 arm64v6 arm64v7 gnux32 muslx32 gnuabi gnuspe muslabi gnuilp32";
const OTHER_OSES: &str = "\
    darwin mac mac64 macos macosx osx apple ios tvos watchos win windows w64 w32 winnt msvc \
    cygwin gnullvm solaris sunos illumos omnios smartos plan9 aix haiku fuchsia emscripten \
    uefi bsd hurd redox qnx vxworks zos hermit freestanding msdos dos iphoneos macho exe \
    msys msys2 catalyst xcframework synology qnap openwrt esxi";
const OTHER_OS_STARTS: &str = "\
    mingw dragonfly android wasm wasi ucrt solaris sunos illumos aix haiku uclibc ohos msdos";
const DISTROS: &str = "\
    ubuntu debian fedora centos rhel redhat archlinux arch suse opensuse sles amazonlinux \
    amzn rocky rockylinux almalinux nixos gentoo raspbian flatcar trusty xenial bionic focal \
    jammy noble stretch buster bullseye bookworm trixie mariner azurelinux photon slackware";
const NOISE: &str = "\
    debug dbg debuginfo debugsymbols dbgsym symbols symbol dsym pdb profile profiling prof \
    test tests testing testdata bench benchmark benchmarks completion completions man \
    manpage manpages manual doc docs documentation update updater upgrader install installer \
    setup unstripped sourcemap sourcemaps crd crds header headers include sdk dev devel \
    example examples sample samples schema schemas manifests chart charts license licenses \
    coverage asan tsan ubsan msan fuzz fuzzer fuzzing instrumented airgap lib libs patch \
    delta diff assets resources config configs fonts icons sbom metadata fips nosym";
const SOURCES: &str = "\
    src source sources sourcecode vendor vendored deps";
const NEUTRAL: &str = "\
    cli bin binary binaries release stable latest all any noarch universal universal2 full \
    portable standalone v dist dirty";

/// The first words of release file names that can be glued to a processor or a version:
/// `linuxamd64`, `win64`, `macos13`, `ubuntu2204`.
const GLUED: &str = "\
    linux lin darwin macosx macos osx mac windows win ubuntu debian fedora centos rhel amzn \
    suse glibc el fc musl";

/// True when a list of words with single blanks between them holds `word`.
pub(super) fn listed(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}

/// Everything that `word` (lower case, letters and digits) says; nothing when it is not known.
pub(super) fn meanings(word: &str) -> Vec<Meaning> {
    let known = plain(word);
    if !known.is_empty() {
        return known;
    }
    let glued = GLUED.split(' ').find_map(|first| {
        let rest = word.strip_prefix(first).filter(|rest| !rest.is_empty())?;
        let mut both = first_part(first);
        if rest.bytes().all(|b| b.is_ascii_digit()) {
            both.extend(bits(rest));
            return Some(both);
        }
        let platform = plain(rest);
        let says_platform =
            platform.iter().any(|m| !matches!(m, Meaning::Number | Meaning::Neutral));
        (says_platform && rest.len() > 2).then(|| {
            both.extend(platform);
            both
        })
    });
    glued.unwrap_or_else(|| if is_number(word) { vec![Meaning::Number] } else { Vec::new() })
}

fn first_part(first: &str) -> Vec<Meaning> {
    match first {
        "el" | "fc" => vec![Meaning::Distro, Meaning::Linux],
        "lin" => vec![Meaning::Linux],
        known => plain(known),
    }
}

/// `64` and `32` glued to an operating system are the width of its processor.
pub(super) fn bits(digits: &str) -> Option<Meaning> {
    match digits {
        "64" => Some(Meaning::Cpu(Cpu::X86_64)),
        "32" | "86" => Some(Meaning::Cpu(Cpu::Other)),
        _ => None,
    }
}

fn plain(word: &str) -> Vec<Meaning> {
    use Meaning::{Baseline, Distro, Gnu, Level, Linux, Musl, Neutral, Noise, OtherOs, Source};
    let is = |list| listed(list, word);
    let bsd = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("bsd");
    let starts = |list: &str| list.split(' ').any(|start| word.starts_with(start));
    match word {
        "linux" => vec![Linux],
        "gnulinux" | "linuxgnu" => vec![Linux, Gnu],
        "linuxmusl" => vec![Linux, Musl],
        "linuxstatic" => vec![Linux, Meaning::Static],
        "gnu" | "glibc" | "libc6" => vec![Gnu],
        "musl" | "musllibc" => vec![Musl],
        "static" | "staticpie" => vec![Meaning::Static],
        "alpine" => vec![Linux, Distro, Musl],
        "baseline" => vec![Baseline],
        "unknown" | "pc" => vec![Meaning::Vendor],
        _ if word.starts_with("gnueabi") => vec![Gnu, Meaning::Cpu(Cpu::Other)],
        _ if word.starts_with("musleabi") => vec![Musl, Meaning::Cpu(Cpu::Other)],
        _ if word.starts_with("manylinux") => vec![Linux, Gnu],
        _ if word.starts_with("musllinux") => vec![Linux, Musl],
        _ if is(X86_64) => vec![Meaning::Cpu(Cpu::X86_64)],
        _ if is(AARCH64) => vec![Meaning::Cpu(Cpu::Aarch64)],
        _ if is(LEVELS) => vec![Meaning::Cpu(Cpu::X86_64), Level],
        _ if is(OTHER_CPUS) || starts(OTHER_CPU_STARTS) => vec![Meaning::Cpu(Cpu::Other)],
        _ if is(OTHER_OSES) || starts(OTHER_OS_STARTS) || bsd(word) => vec![OtherOs],
        _ if is(DISTROS) => vec![Linux, Distro],
        _ if is(NOISE) => vec![Noise],
        _ if is(SOURCES) => vec![Source],
        _ if is(NEUTRAL) => vec![Neutral],
        _ => Vec::new(),
    }
}

/// Digits, `v2`, `rc1`, `0rc1`, `go1`, or an abbreviated commit.
fn is_number(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit());
    let commit = word.strip_prefix('g').unwrap_or(word);
    let commit_hex = commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let stage = word.trim_matches(|c: char| c.is_ascii_digit());
    digits == word.len()
        || (hex && digits > 0 && word.len() >= 7)
        || (commit_hex && digits > 0)
        || (digits > 0
            && matches!(
                stage,
                "v" | "r" | "rc" | "alpha" | "beta" | "pre" | "a" | "b" | "p" | "post"
            ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_what_publishers_mean() {
        let cases: &[(&str, &[Meaning])] = &[
            ("linux64", &[Meaning::Linux, Meaning::Cpu(Cpu::X86_64)]),
            ("linuxarm64", &[Meaning::Linux, Meaning::Cpu(Cpu::Aarch64)]),
            ("linux32", &[Meaning::Linux, Meaning::Cpu(Cpu::Other)]),
            ("win64", &[Meaning::OtherOs, Meaning::Cpu(Cpu::X86_64)]),
            ("macos13", &[Meaning::OtherOs]),
            ("ubuntu2204", &[Meaning::Linux, Meaning::Distro]),
            ("manylinux2014", &[Meaning::Linux, Meaning::Gnu]),
            ("gnueabihf", &[Meaning::Gnu, Meaning::Cpu(Cpu::Other)]),
            ("arm", &[Meaning::Cpu(Cpu::Other)]),
            ("gnux32", &[Meaning::Cpu(Cpu::Other)]),
            ("solaris11", &[Meaning::OtherOs]),
            ("freebsd13", &[Meaning::OtherOs]),
            ("midnightbsd", &[Meaning::OtherOs]),
            ("linuxkit", &[]),
            ("v2", &[Meaning::Number]),
            ("9f3c2d1", &[Meaning::Number]),
            ("winner", &[]),
            ("machine", &[]),
            ("elastic", &[]),
            ("extended", &[]),
        ];
        for (word, expected) in cases {
            assert_eq!(meanings(word), *expected, "{word}");
        }
    }
}
