//! `.caexclude` files: what is left out of a published tree, as casync leaves it out.
//!
//! One pattern a line; empty lines and `#` say nothing. A pattern without `/` holds for the directory of the file and all
//! below, one with `/` only from that directory on; a `/` at the end means directories only; `!` keeps what
//! other lines leave out. Names are matched as by `fnmatch` with `FNM_PERIOD`. Source: `camatch.c` in
//! systemd/casync and casync(1).

use std::rc::Rc;

use rustix::fs::FileType;

/// Name of the files.
pub(super) const FILE_NAME: &[u8] = b".caexclude";

/// Bytes of one such file that are read; more is an error.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// What holds in one directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// Keeps what matches.
    keeps: bool,
    /// Holds here only, not in directories below.
    anchored: bool,
    parts: Rc<[Part]>,
    /// The part that names in this directory are compared with.
    at: usize,
}

#[derive(Debug)]
struct Part {
    pattern: Vec<u8>,
    directories_only: bool,
}

impl Rules {
    /// Adds the lines of a file; or the number of the first line that is no pattern.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<(), usize> {
        for (number, line) in (1_usize..).zip(text.split(|&byte| byte == b'\n')) {
            let line = line.trim_ascii();
            if !line.is_empty() && !line.starts_with(b"#") {
                self.0.push(rule(line).ok_or(number)?);
            }
        }
        Ok(())
    }

    /// Whether an entry is left out, and what holds in it if it is a directory that is not.
    pub(super) fn test(&self, name: &[u8], kind: FileType) -> (bool, Self) {
        let directory = kind == FileType::Directory;
        let (mut kept, mut left_out, mut below) = (false, false, Vec::new());
        for rule in &self.0 {
            if directory && !rule.anchored {
                below.push(rule.clone());
            }
            let Some(part) = rule.parts.get(rule.at) else { continue };
            if part.directories_only && !directory || !matches(&part.pattern, name) {
                continue;
            }
            if rule.at + 1 < rule.parts.len() {
                below.push(Rule { anchored: true, at: rule.at + 1, ..rule.clone() });
            } else if rule.keeps {
                kept = true;
            } else {
                left_out = true;
            }
        }
        (left_out && !kept, Self(below))
    }
}

fn rule(line: &[u8]) -> Option<Rule> {
    let (keeps, line) = match line.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let anchored = line.contains(&b'/');
    let directories_only = line.ends_with(b"/");
    let names: Vec<&[u8]> = line.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() || names.iter().any(|name| matches!(*name, b"." | b"..")) {
        return None;
    }
    let count = names.len();
    let parts = (1..).zip(names).map(|(number, name)| Part {
        pattern: name.to_vec(),
        directories_only: number < count || directories_only,
    });
    Some(Rule { keeps, anchored, parts: parts.collect(), at: 0 })
}

/// Whether a name matches a shell pattern; a period at its beginning only matches a period.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && !matches!(pattern, [b'.', ..] | [b'\\', b'.', ..]) {
        return false;
    }
    // Where the last `*` was, and what it had taken up to then.
    let (mut star, mut pattern_at, mut name_at) = (None, 0, 0);
    while name_at < name.len() {
        let rest = pattern.get(pattern_at..).unwrap_or_default();
        let byte = name.get(name_at).copied().unwrap_or_default();
        if let [b'*', ..] = rest {
            star = Some((pattern_at + 1, name_at));
            pattern_at += 1;
        } else if let Some(used) = one(rest, byte) {
            pattern_at += used;
            name_at += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            pattern_at = after;
            name_at = taken + 1;
        } else {
            return false;
        }
    }
    pattern.get(pattern_at..).unwrap_or_default().iter().all(|&byte| byte == b'*')
}

/// Bytes of the pattern that match one byte; none when they do not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((found, used)) => found.then_some(1 + used),
            // A bracket that is never closed stands for itself.
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether a bracket expression behind its `[` has the byte, and its length; none when it has no end.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let inverted = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut at = usize::from(inverted);
    let (mut found, begin) = (false, at);
    loop {
        match pattern.get(at..)? {
            [b']', ..] if at > begin => return Some((found != inverted, at + 1)),
            [b'[', b':', rest @ ..] => {
                let length = rest.windows(2).position(|two| two == b":]")?;
                found |= class(rest.get(..length)?, byte);
                at += length + 4;
            }
            [low, b'-', high, ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                at += 3;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
            [] => return None,
        }
    }
}

fn class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"digit" => byte.is_ascii_digit(),
        b"lower" => byte.is_ascii_lowercase(),
        b"upper" => byte.is_ascii_uppercase(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_like_those_of_the_shell() {
        let cases = [
            ("*.o", "a.o", true),
            ("*.o", ".o", false),
            (".*", ".git", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[[:digit:]]x", "7x", true),
            ("[x", "[x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**", "a", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn rules_without_a_slash_hold_below_and_others_only_here() {
        let mut rules = Rules::default();
        rules.add(b"# said\n*.o\n\n/top\na/b/\n!keep.o\n").unwrap();
        let kind = |d: bool| if d { FileType::Directory } else { FileType::RegularFile };
        let out = |rules: &Rules, name: &str, d| rules.test(name.as_bytes(), kind(d)).0;
        assert!(out(&rules, "x.o", false) && out(&rules, "top", false));
        assert!(!out(&rules, "keep.o", false) && !out(&rules, "a", true));
        let (_, below) = rules.test(b"a", FileType::Directory);
        assert!(out(&below, "x.o", false) && out(&below, "b", true));
        assert!(!out(&below, "top", false) && !out(&below, "b", false));
    }

    #[test]
    fn lines_that_are_no_pattern_are_counted() {
        assert_eq!(Rules::default().add(b"fine\na/../b\n"), Err(2));
        assert_eq!(Rules::default().add(b"/\n"), Err(1));
    }
}
