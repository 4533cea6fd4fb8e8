//! The partition of a disk image that an extension is in.
//!
//! Layout (UEFI 2.10, chapter 5): a header at sector 1, which names an array of entries with the type, the first
//! and the last sector of each partition. Types are those of the UAPI discoverable partitions specification.

use data_encoding::HEXLOWER;

use crate::format::image::bytes::{Source, u32_at, u64_at};
use crate::format::image::{Format, ImageError, SECTOR};

/// Entries that are looked at: tables have 128.
const ENTRIES_MAX: u32 = 1024;

/// Bytes of an entry: 128, rarely more.
const ENTRY_BYTES_MAX: u32 = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Root,
    Usr,
    Verity,
    Generic,
}

/// Types of partitions, as the first three groups are stored: little-endian.
const TYPES: [(&str, Role); 11] = [
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", Role::Root),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", Role::Root),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", Role::Root),
    ("8484680c-9521-48c6-9c11-b0720656f69e", Role::Usr),
    ("b0e01050-ee5f-4390-949a-9101b17104e9", Role::Usr),
    ("beaec34b-8442-439b-a40b-984381ed097d", Role::Usr),
    ("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5", Role::Verity),
    ("df3300ce-d69f-4c92-978c-9bfb0f38d820", Role::Verity),
    ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", Role::Verity),
    ("6e11a4e7-fbca-4ded-b9e9-e1a512bb664e", Role::Verity),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", Role::Generic),
];

/// Where to look inside a disk image.
pub(super) struct Disk<'a> {
    pub(super) partition: Source<'a>,
    /// It is mounted on `usr`.
    pub(super) is_usr: bool,
    pub(super) verity: bool,
}

fn damaged(what: &'static str) -> ImageError {
    ImageError::Damaged { format: Format::Gpt, what }
}

/// The root, usr or generic partition, in this order; none if it is no disk with a GPT.
pub(super) fn find(source: Source<'_>) -> Result<Option<Disk<'_>>, ImageError> {
    if !source.starts_with(SECTOR, b"EFI PART")? {
        return Ok(None);
    }
    let header: [u8; 92] = source.array(SECTOR, Format::Gpt)?;
    check(&header)?;
    let backup = u64_at(&header, 32).checked_add(1).and_then(|sectors| sectors.checked_mul(SECTOR));
    source.holds(backup.ok_or(damaged("place of the second header"))?, Format::Gpt)?;
    let (count, bytes) = (u32_at(&header, 80), u32_at(&header, 84));
    if count > ENTRIES_MAX || !(128..=ENTRY_BYTES_MAX).contains(&bytes) {
        return Err(damaged("table of partitions"));
    }
    let table = u64_at(&header, 72).checked_mul(SECTOR).ok_or(damaged("table of partitions"))?;
    let (mut found, mut verity) = (Vec::new(), false);
    for index in 0..u64::from(count) {
        let at = table.saturating_add(index * u64::from(bytes));
        let entry: [u8; 128] = source.array(at, Format::Gpt)?;
        match role(&entry) {
            None => {}
            Some(Role::Verity) => verity = true,
            Some(role) => found.push((role, partition(source, &entry)?)),
        }
    }
    for wanted in [Role::Root, Role::Usr, Role::Generic] {
        if let Some(&(role, partition)) = found.iter().find(|(role, _)| *role == wanted) {
            return Ok(Some(Disk { partition, is_usr: role == Role::Usr, verity }));
        }
    }
    Err(damaged("lack of a root or usr partition"))
}

/// Compares the checksum of the header.
fn check(header: &[u8; 92]) -> Result<(), ImageError> {
    let mut plain = *header;
    if let Some(field) = plain.get_mut(16..20) {
        field.fill(0);
    }
    let mut crc = flate2::Crc::new();
    crc.update(&plain);
    if u32_at(header, 12) == 92 && crc.sum() == u32_at(header, 16) {
        Ok(())
    } else {
        Err(damaged("checksum of the header"))
    }
}

fn partition<'a>(source: Source<'a>, entry: &[u8; 128]) -> Result<Source<'a>, ImageError> {
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let end = last.checked_add(1).and_then(|sectors| sectors.checked_mul(SECTOR));
    let (Some(end), Some(start)) = (end, first.checked_mul(SECTOR)) else {
        return Err(damaged("place of a partition"));
    };
    source.holds(end, Format::Gpt)?;
    let size = end.checked_sub(start).ok_or(damaged("place of a partition"))?;
    source.part(start, size).ok_or(damaged("place of a partition"))
}

fn role(entry: &[u8; 128]) -> Option<Role> {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let turned = |from: usize, to: usize| {
        let mut group = entry.get(from..to).unwrap_or_default().to_vec();
        group.reverse();
        hex(&group)
    };
    let rest = |from: usize, to: usize| hex(entry.get(from..to).unwrap_or_default());
    let text = [turned(0, 4), turned(4, 6), turned(6, 8), rest(8, 10), rest(10, 16)].join("-");
    TYPES.iter().find(|(uuid, _)| *uuid == text).map(|(_, role)| *role)
}
