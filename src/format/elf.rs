//! What an ELF program needs from its host.
//!
//! Only the fields that decide whether a program can start are read: header, program headers,
//! interpreter, and the versions in `.gnu.version_r`, found through the dynamic section. Sources: System V
//! ABI, "Object Files"; Linux Standard Base 5.0, "Symbol Versioning".

use std::io;

/// Program headers looked at: linkers write about a dozen.
const PROGRAM_HEADERS_MAX: u16 = 1024;

/// Entries of the dynamic section looked at: one for each needed library and about thirty more.
const DYNAMIC_MAX: u64 = 4096;

/// Libraries in `.gnu.version_r`.
const NEEDED_FILES_MAX: u64 = 1024;

/// Versions in `.gnu.version_r` in all.
const NEEDED_VERSIONS_MAX: u64 = 8192;

/// Bytes in an interpreter's path: Linux refuses longer ones (`PATH_MAX`).
const INTERPRETER_BYTES_MAX: u64 = 4096;

/// Bytes of a version name that are looked at: the longest of GNU libc has 22.
const VERSION_BYTES: usize = 64;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// Width of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

/// What a program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Width of addresses.
    pub class: Class,
    /// `e_machine`: 62 is `x86_64`, 183 is aarch64.
    pub machine: u16,
    /// The program interpreter; none for static programs, and not looked for in 32-bit ones.
    pub interpreter: Option<String>,
    /// Highest version of GNU libc that a symbol demands; not looked for in 32-bit programs.
    pub glibc: Option<(u32, u32)>,
}

/// Why a program cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The bytes cannot be read.
    #[error("cannot read the program")]
    Read(#[source] io::Error),
    /// Does not begin as every ELF file does.
    #[error("it is no ELF file")]
    NotElf,
    /// Something lies outside the file or has an impossible size.
    #[error("its {0} is out of bounds")]
    OutOfBounds(&'static str),
}

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// Fills as much of `into` from `offset` on as there is, and says how much.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = from.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// Reads what a program needs, in few small reads.
pub fn inspect(source: &(impl ReadAt + ?Sized)) -> Result<Elf, ElfError> {
    let ident: [u8; 20] = read(source, 0, "header").map_err(|error| match error {
        ElfError::OutOfBounds(_) => ElfError::NotElf,
        other => other,
    })?;
    let (class, little) = match ident {
        [0x7f, b'E', b'L', b'F', class @ 1..=2, order @ 1..=2, ..] => (class, order == 1),
        _ => return Err(ElfError::NotElf),
    };
    let machine: [u8; 2] = field(&ident, 18).ok_or(ElfError::OutOfBounds("header"))?;
    let machine = if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    let class = if class == 2 { Class::Bits64 } else { Class::Bits32 };
    let mut elf = Elf { class, machine, interpreter: None, glibc: None };
    if class == Class::Bits64 && little {
        let segments = segments(source)?;
        elf.interpreter = interpreter(source, &segments)?;
        elf.glibc = glibc(source, &segments)?;
    }
    Ok(elf)
}

/// One program header.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
}

fn segments(source: &(impl ReadAt + ?Sized)) -> Result<Vec<Segment>, ElfError> {
    let out = ElfError::OutOfBounds("program header table");
    let header: [u8; 64] = read(source, 0, "header")?;
    let (Some(table), Some(size), Some(count)) =
        (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56))
    else {
        return Err(out);
    };
    if count > PROGRAM_HEADERS_MAX || (count > 0 && size < 56) {
        return Err(out);
    }
    let mut segments = Vec::with_capacity(count.into());
    for index in 0..u64::from(count) {
        let offset = table.checked_add(index * u64::from(size));
        let Some(offset) = offset else { return Err(out) };
        let raw: [u8; 56] = read(source, offset, "program header table")?;
        if let (Some(kind), Some(offset), Some(address), Some(file_size)) =
            (u32_at(&raw, 0), u64_at(&raw, 8), u64_at(&raw, 16), u64_at(&raw, 32))
        {
            segments.push(Segment { kind, offset, address, file_size });
        }
    }
    Ok(segments)
}

fn interpreter(
    source: &(impl ReadAt + ?Sized),
    segments: &[Segment],
) -> Result<Option<String>, ElfError> {
    let out = || ElfError::OutOfBounds("interpreter");
    let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) else {
        return Ok(None);
    };
    if segment.file_size > INTERPRETER_BYTES_MAX {
        return Err(out());
    }
    let mut bytes = vec![0; usize::try_from(segment.file_size).unwrap_or_default()];
    let count = source.read_at(&mut bytes, segment.offset).map_err(ElfError::Read)?;
    if count < bytes.len() {
        return Err(out());
    }
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes).map(Some).map_err(|_| out())
}

/// The highest `GLIBC_x.y` that is needed.
fn glibc(
    source: &(impl ReadAt + ?Sized),
    segments: &[Segment],
) -> Result<Option<(u32, u32)>, ElfError> {
    let out = || ElfError::OutOfBounds("version table");
    let Some(table) = version_table(source, segments)? else { return Ok(None) };
    let (mut highest, mut left) = (None, NEEDED_VERSIONS_MAX);
    let mut file_at = table.offset;
    for _ in 0..table.files.min(NEEDED_FILES_MAX) {
        let file: [u8; 16] = read(source, file_at, "version table")?;
        let (versions, first, next) = (u16_at(&file, 2), u32_at(&file, 8), u32_at(&file, 12));
        let (Some(versions), Some(first), Some(next)) = (versions, first, next) else { break };
        let mut version_at = file_at.checked_add(first.into()).ok_or_else(out)?;
        for _ in 0..versions {
            left = left.checked_sub(1).ok_or_else(out)?;
            let version: [u8; 16] = read(source, version_at, "version table")?;
            let (Some(name), Some(step)) = (u32_at(&version, 8), u32_at(&version, 12)) else {
                break;
            };
            let name_at = table.names.checked_add(name.into()).ok_or_else(out)?;
            highest = highest.max(glibc_version(source, name_at)?);
            if step == 0 {
                break;
            }
            version_at = version_at.checked_add(step.into()).ok_or_else(out)?;
        }
        if next == 0 {
            break;
        }
        file_at = file_at.checked_add(next.into()).ok_or_else(out)?;
    }
    Ok(highest)
}

/// Where `.gnu.version_r` is, as file offsets.
struct VersionTable {
    offset: u64,
    files: u64,
    names: u64,
}

fn version_table(
    source: &(impl ReadAt + ?Sized),
    segments: &[Segment],
) -> Result<Option<VersionTable>, ElfError> {
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(None);
    };
    let (mut names, mut table, mut files) = (None, None, 0);
    for index in 0..(dynamic.file_size / 16).min(DYNAMIC_MAX) {
        let Some(at) = dynamic.offset.checked_add(index * 16) else { break };
        let raw: [u8; 16] = read(source, at, "dynamic section")?;
        match (u64_at(&raw, 0), u64_at(&raw, 8)) {
            (Some(DT_NULL) | None, _) | (_, None) => break,
            (Some(DT_STRTAB), Some(value)) => names = Some(value),
            (Some(DT_VERNEED), Some(value)) => table = Some(value),
            (Some(DT_VERNEEDNUM), Some(value)) => files = value,
            _ => {}
        }
    }
    let (Some(names), Some(table)) = (names, table) else { return Ok(None) };
    match (file_offset(segments, table), file_offset(segments, names)) {
        (Some(offset), Some(names)) => Ok(Some(VersionTable { offset, files, names })),
        _ => Err(ElfError::OutOfBounds("version table")),
    }
}

/// Where in the file the byte is that is loaded at `address`.
fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    let mut loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
    loaded.find_map(|segment| {
        let into = address.checked_sub(segment.address)?;
        (into < segment.file_size).then(|| segment.offset.checked_add(into))?
    })
}

/// The version that a name `GLIBC_2.34` or `GLIBC_2.2.5` demands; others demand none.
fn glibc_version(
    source: &(impl ReadAt + ?Sized),
    name_at: u64,
) -> Result<Option<(u32, u32)>, ElfError> {
    let mut bytes = [0; VERSION_BYTES];
    source.read_at(&mut bytes, name_at).map_err(ElfError::Read)?;
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let Some(text) = std::str::from_utf8(name).ok().and_then(|n| n.strip_prefix("GLIBC_")) else {
        return Ok(None);
    };
    let mut parts = text.split('.').map(str::parse);
    Ok(match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    })
}

fn read<const N: usize>(
    source: &(impl ReadAt + ?Sized),
    offset: u64,
    what: &'static str,
) -> Result<[u8; N], ElfError> {
    let mut bytes = [0; N];
    let count = source.read_at(&mut bytes, offset).map_err(ElfError::Read)?;
    if count == N { Ok(bytes) } else { Err(ElfError::OutOfBounds(what)) }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    field(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}
