//! Memory of this process, given back to the system before a long wait or much work of another kind.
//!
//! Between two passes the agent needs next to nothing, but the allocator keeps what a pass has freed, and every page of the
//! program that ever ran stays mapped. Both come back by themselves when they are needed: free memory as zeroed
//! pages, the program from the page cache.
#![expect(
    unsafe_code,
    reason = "giving memory back is a promise about what other code does with it"
)]

use std::ffi::c_void;
use std::io::Read;
use std::ops::Range;

/// The kernel's list of this process's mappings; see `proc_pid_smaps(5)`.
const MAPPINGS: &str = "/proc/self/smaps";

/// Room for the list: some 150 mappings of 700 bytes, and much more.
const MAPPINGS_BYTES: usize = 1 << 20;

/// The allocator's `mi_option_purge_delay`, which its bindings have no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Has the allocator give memory back as soon as it is free. What is used again soon is cleared again each time; but what
/// is allocated anew is not the rest of something larger, all of which would stay.
pub fn keep_little() {
    // SAFETY: sets a number that the allocator reads when it frees a page; it may be set at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
}

/// Gives back what the allocator keeps free for this thread and for threads that have ended, and the pages of the program's
/// file. Whatever cannot be given back stays, which does no harm.
pub fn give_back() {
    let here = give_back as fn() as usize;
    // Freed as a whole before what is free is given back; a text that grows leaves its former places among what is in use.
    let mut mappings = String::with_capacity(MAPPINGS_BYTES);
    let read =
        std::fs::File::open(MAPPINGS).and_then(|mut file| file.read_to_string(&mut mappings));
    let places = if read.is_ok() { of_the_program(&mappings, here) } else { Vec::new() };
    drop(mappings);
    // SAFETY: `mi_collect` may be called at any time by any thread: it only returns pages that hold no
    // allocation to the system, of this thread's heap and of those that ended threads have left.
    unsafe { libmimalloc_sys::mi_collect(true) };
    for place in places {
        let length = place.end.saturating_sub(place.start);
        let start: *mut c_void = std::ptr::with_exposed_provenance_mut(place.start);
        // SAFETY: see `of_the_program`: the pages are the file's own bytes, nobody can write to them or has
        // done so, and no address becomes invalid. The next use of one reads the same bytes from the file.
        if unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) } != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "cannot give memory back");
        }
    }
}

/// One mapping of the list.
#[derive(Debug, Default)]
struct Mapping<'a> {
    place: Range<usize>,
    permissions: &'a str,
    /// Device and inode.
    file: (&'a str, &'a str),
    /// KiB that are not the file's: written, or written and swapped out.
    own_kib: u64,
}

/// The places in memory of files whose bytes can be dropped and read again: the code of this program and of its libraries,
/// and what this program (the one whose code `here` is in) has mapped for reading only.
///
/// Code is mapped once, executable and not writable, and never becomes anything else. Of what is only readable
/// now some was written before (relocations, made while the program was loaded), and a library that is being
/// loaded at this moment may still write it: so only this program's own counts, which was loaded long ago.
/// Whatever has pages that are not the file's, breakpoints of a debugger included, is left alone.
fn of_the_program(mappings: &str, here: usize) -> Vec<Range<usize>> {
    let all = parse(mappings);
    let program = all.iter().find(|mapping| mapping.place.contains(&here)).map(|m| m.file);
    all.into_iter()
        .filter(|mapping| !matches!(mapping.file.1, "" | "0") && mapping.own_kib == 0)
        .filter(|mapping| match mapping.permissions {
            "r-xp" => true,
            "r--p" => program == Some(mapping.file),
            _ => false,
        })
        .map(|mapping| mapping.place)
        .collect()
}

/// Reads the list; a line that is not understood ends the mapping it belongs to without anything that could be dropped.
fn parse(mappings: &str) -> Vec<Mapping<'_>> {
    let mut all: Vec<Mapping<'_>> = Vec::new();
    for line in mappings.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let Some(name) = first.strip_suffix(':') else {
            all.push(header(first, words).unwrap_or_default());
            continue;
        };
        if matches!(name, "Anonymous" | "Swap")
            && let Some(mapping) = all.last_mut()
        {
            let kib = words.next().and_then(|number| number.parse().ok());
            mapping.own_kib = mapping.own_kib.saturating_add(kib.unwrap_or(u64::MAX));
        }
    }
    all
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE NAME`.
fn header<'a>(place: &str, mut words: impl Iterator<Item = &'a str>) -> Option<Mapping<'a>> {
    let (start, end) = place.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let place = address(start)?..address(end)?;
    let permissions = words.next()?;
    let mut identity = words.skip(1);
    let file = (identity.next()?, identity.next()?);
    Some(Mapping { place, permissions, file, own_kib: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
1000-3000 r--p 00000000 fe:00 77                   /usr/bin/reconcile
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me
3000-6000 r-xp 00002000 fe:00 77                   /usr/bin/reconcile
Anonymous:             0 kB
Swap:                  0 kB
6000-7000 r--p 00005000 fe:00 77                   /usr/bin/reconcile
Anonymous:             4 kB
Swap:                  0 kB
7000-8000 r--p 00006000 fe:00 77                   /usr/bin/reconcile
Anonymous:             0 kB
Swap:                  4 kB
8000-9000 rw-p 00007000 fe:00 77                   /usr/bin/reconcile
Anonymous:             0 kB
Swap:                  0 kB
a000-b000 r--p 00000000 fe:00 88                   /usr/lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
b000-c000 r-xp 00001000 fe:00 88                   /usr/lib/libc.so.6
Anonymous:             0 kB
Swap:                  0 kB
c000-d000 r-xp 00000000 00:00 0                    [vdso]
Anonymous:             0 kB
Swap:                  0 kB
";

    #[test]
    fn what_was_written_or_is_nobodys_file_is_kept() {
        assert_eq!(of_the_program(LIST, 0x3500), [0x1000..0x3000, 0x3000..0x6000, 0xb000..0xc000]);
    }

    #[test]
    fn without_knowing_the_program_only_code_is_dropped() {
        assert_eq!(of_the_program(LIST, 0x50), [0x3000..0x6000, 0xb000..0xc000]);
    }

    #[test]
    fn code_with_a_breakpoint_is_kept() {
        let list = LIST.replacen("Anonymous:             0 kB", "Anonymous:             4 kB", 2);
        assert_eq!(of_the_program(&list, 0x3500), vec![0xb000..0xc000]);
    }

    #[test]
    fn lists_that_make_no_sense_drop_nothing() {
        for list in ["", "x", "1-", "1-2", "zz-1 r-xp 0 0 7", "1000-2000 r-xp 0 fe:00", "Swap: x"] {
            assert!(of_the_program(list, 0x1500).is_empty(), "{list}");
        }
        let unreadable = "1000-2000 r-xp 0 fe:00 7 /x\nAnonymous: many kB\n";
        assert!(of_the_program(unreadable, 0x1500).is_empty());
    }

    #[test]
    fn program_goes_on_after_its_memory_was_given_back() {
        let kept: Vec<String> = (0..10_000).map(|number| format!("number {number}")).collect();
        give_back();
        let again = (0..10_000).map(|number| format!("number {number}"));
        assert!(kept.into_iter().eq(again));
    }

    /// Given to the process that the next test starts.
    const CHILD: &str = "this-is-the-child";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "this program again, with another environment")]
    fn purge_delay_is_the_number_that_the_allocator_knows_by_this_name() {
        // SAFETY: reads a number.
        let delay = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        if std::env::args().any(|argument| argument == CHILD) {
            assert_eq!(delay, 7654);
            return;
        }
        let this =
            "host::memory::tests::purge_delay_is_the_number_that_the_allocator_knows_by_this_name";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.env("MIMALLOC_PURGE_DELAY", "7654").args(["--exact", this, "--skip", CHILD]);
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
