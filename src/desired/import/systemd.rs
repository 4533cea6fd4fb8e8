//! Unit files and environment files as systemd reads them (systemd.syntax(7), systemd.exec(5)).

use std::sync::Arc;

/// One `Key=Value` of a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Shared by all of its settings, however long it is.
    pub(super) section: Arc<str>,
    pub(super) key: String,
    pub(super) value: String,
    /// The line it starts on, from 1.
    pub(super) line: usize,
}

/// The settings of a unit file. A line that ends in a backslash goes on with the next, a blank between
/// them; comments inside such a line are passed over.
pub(super) fn settings(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut section: Arc<str> = "".into();
    let mut joined: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim_start();
        if line.starts_with(['#', ';']) || (line.trim().is_empty() && joined.is_none()) {
            continue;
        }
        let (start, mut whole) = joined.take().unwrap_or((index + 1, String::new()));
        whole.push_str(line);
        if continues(line) {
            whole.pop();
            whole.push(' ');
            joined = Some((start, whole));
            continue;
        }
        take_line(&whole, start, &mut section, &mut settings);
    }
    if let Some((start, whole)) = joined {
        take_line(&whole, start, &mut section, &mut settings);
    }
    settings
}

/// True for an odd number of backslashes at the end.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn take_line(line: &str, start: usize, section: &mut Arc<str>, settings: &mut Vec<Setting>) {
    let line = line.trim();
    if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
        *section = name.into();
    } else if let Some((key, value)) = line.split_once('=') {
        settings.push(Setting {
            section: Arc::clone(section),
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
            line: start,
        });
    }
}

/// A value split into words, up to the first mistake: systemd ignores the rest of the line then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: Vec<String>,
    /// What is wrong.
    pub(super) mistake: Option<String>,
}

/// Splits at blanks, removes quotes, and unescapes as in C, within both kinds of quote.
pub(super) fn words(text: &str) -> Words {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        match word(rest) {
            Ok((word, after)) => {
                words.push(word);
                rest = after.trim_start();
            }
            Err(mistake) => return Words { words, mistake: Some(mistake) },
        }
    }
    Words { words, mistake: None }
}

/// The first word and what follows it.
fn word(text: &str) -> Result<(String, &str), String> {
    let mut word = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match (c, quote) {
            ('\\', _) => {
                let (unescaped, after) = escape(after).ok_or_else(|| {
                    let next: String = after.chars().take(1).collect();
                    format!("`\\{next}` is not an escape sequence")
                })?;
                word.push(unescaped);
                rest = after;
                continue;
            }
            (_, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (_, None) if c.is_whitespace() => return Ok((word, rest)),
            _ => word.push(c),
        }
        rest = after;
    }
    match quote {
        Some(quote) => Err(format!("a {quote} is not closed")),
        None => Ok((word, "")),
    }
}

/// The character that the escape sequence after a backslash stands for, and what follows.
fn escape(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    let after = text.get(first.len_utf8()..)?;
    let simple = match first {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => first,
        'x' => return number(after, 2, 16),
        'u' => return number(after, 4, 16),
        'U' => return number(after, 8, 16),
        '0'..='7' => return number(text, 3, 8),
        _ => return None,
    };
    Some((simple, after))
}

fn number(text: &str, digits: usize, radix: u32) -> Option<(char, &str)> {
    let (number, after) = text.split_at_checked(digits)?;
    if !number.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(number, radix).ok()?)?;
    (c != '\0').then_some((c, after))
}

/// The same text with every backslash doubled that starts no escape sequence.
pub(super) fn corrected(text: &str) -> String {
    let mut fixed = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        fixed.push_str(before);
        fixed.push('\\');
        if let Some((_, tail)) = escape(after) {
            fixed.push_str(after.strip_suffix(tail).unwrap_or_default());
            rest = tail;
        } else {
            fixed.push('\\');
            rest = after;
        }
    }
    fixed + rest
}

/// Replaces the specifiers that do not depend on the machine (systemd.unit(5)). `unit` is without its type.
///
/// # Errors
/// The specifier that is not known here.
pub(super) fn specifiers(text: &str, unit: &str) -> Result<String, String> {
    let (prefix, instance) = unit.split_once('@').unwrap_or((unit, ""));
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let specifier = after.chars().next();
        match specifier {
            Some('i' | 'I') => out.push_str(instance),
            Some('p' | 'P') => out.push_str(prefix),
            Some('n') => out.extend([unit, ".service"]),
            Some('N') => out.push_str(unit),
            Some('t') => out.push_str("/run"),
            Some('S') => out.push_str("/var/lib"),
            Some('C') => out.push_str("/var/cache"),
            Some('L') => out.push_str("/var/log"),
            Some('E') => out.push_str("/etc"),
            Some('h') => out.push_str("/root"),
            Some('%') => out.push('%'),
            Some(other) => return Err(format!("%{other}")),
            None => return Err("%".to_owned()),
        }
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

/// The assignments of a file named by `EnvironmentFile=`, each with its line.
///
/// Unlike in a unit, a backslash outside quotes stands for the next character, single quotes keep
/// everything, and double quotes unescape only `" \ $` and the backquote.
pub(super) fn environment_file(text: &str) -> Vec<(String, String, usize)> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut counted = text;
    let mut line = 1;
    while !rest.is_empty() {
        let passed = counted.get(..counted.len() - rest.len()).unwrap_or_default();
        line += passed.matches('\n').count();
        counted = rest;
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        if rest.starts_with(['#', ';', '\n']) {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(['=', '\n']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            rest = after.strip_prefix('\n').unwrap_or_default();
            continue;
        };
        let (value, after) = environment_value(value);
        found.push((key.trim().to_owned(), value, line));
        rest = after;
    }
    found
}

/// One value and what follows its line.
fn environment_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut kept = 0;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            ('\n', None) => {
                value.truncate(kept);
                return (value, text.get(at + 1..).unwrap_or_default());
            }
            (_, Some(q)) if c == q => quote = None,
            ('\\', None) => value.extend(chars.next().map(|(_, c)| c).filter(|c| *c != '\n')),
            ('\\', Some('"')) => match chars.next().map(|(_, c)| c) {
                Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                Some('\n') | None => {}
                Some(c) => value.extend(['\\', c]),
            },
            ('\'' | '"', None) if value.len() == kept && value.trim().is_empty() => quote = Some(c),
            (' ' | '\t' | '\r', None) if value.is_empty() => {}
            _ => value.push(c),
        }
        if quote.is_some() || !c.is_whitespace() {
            kept = value.len();
        }
    }
    value.truncate(kept);
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unquoted_and_unescaped() {
        let good = |text: &str| words(text).words;
        assert_eq!(good(r#"A=1 "B=2 3" C='x y'z"#), ["A=1", "B=2 3", "C=x yz"]);
        assert_eq!(good(r#""P=a\\.b" Q=\x41\101\u00e4\s'"#), ["P=a\\.b"]);
        assert_eq!(good(r"Q=\x41\101\u00e4\s."), ["Q=AAä ."]);
    }

    #[test]
    fn mistakes_end_the_line_and_can_be_corrected() {
        let line = r#"A=1 "P=app-.*\.tar\.gz" B=2"#;
        let read = words(line);
        assert_eq!(read.words, ["A=1"]);
        assert_eq!(read.mistake.unwrap(), r"`\.` is not an escape sequence");
        assert_eq!(corrected(line), r#"A=1 "P=app-.*\\.tar\\.gz" B=2"#);
        assert_eq!(words(&corrected(line)).words[1], r"P=app-.*\.tar\.gz");
        assert!(words("'x").mistake.is_some() && words("x\\").mistake.is_some());
        assert!(words(r"\x00").mistake.is_some() && words(r"\x4").mistake.is_some());
    }

    #[test]
    fn long_name_of_a_section_is_kept_once() {
        let text = format!("[{}]\n{}", "x".repeat(500_000), "A=\n".repeat(100_000));
        let read = settings(&text);
        assert_eq!(read.len(), 100_000);
        assert!(read.iter().all(|setting| Arc::ptr_eq(&setting.section, &read[0].section)));
    }

    #[test]
    fn lines_continue_over_comments() {
        let read = settings("[Service]\nEnvironment=A=1 \\\n# no\n   B=2\nX=y\\\\\n Z = 1 \n");
        let short: Vec<(&str, &str, usize)> =
            read.iter().map(|s| (s.key.as_str(), s.value.as_str(), s.line)).collect();
        assert_eq!(short, [("Environment", "A=1  B=2", 2), ("X", "y\\\\", 5), ("Z", "1", 6)]);
    }

    #[test]
    fn environment_files_have_quotes_of_their_own() {
        let read = environment_file(
            "# c\nA=a\\.b  \n B=\"a\\.b \\$x\" \nC='a\\.b'\nD=one\\\ntwo\n\nnonsense\nE=it's\nF=",
        );
        let short: Vec<(&str, &str, usize)> =
            read.iter().map(|(k, v, line)| (k.as_str(), v.as_str(), *line)).collect();
        assert_eq!(
            short,
            [
                ("A", "a.b", 2),
                ("B", "a\\.b $x", 3),
                ("C", "a\\.b", 4),
                ("D", "onetwo", 5),
                ("E", "it's", 9),
                ("F", "", 10)
            ]
        );
    }
}
