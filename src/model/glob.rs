//! Glob patterns over paths in a tree.

/// Whether a pattern matches a path or a directory above it: what is below a match belongs to it.
///
/// `?` is one byte but `/`, `*` any number of them, `**` as a whole component any number of components. A
/// pattern without `/` matches at any depth, as in `.gitignore`.
pub fn covers(pattern: &str, path: &[u8]) -> bool {
    let anchored = pattern.trim_end_matches('/');
    let mut parts: Vec<&[u8]> = Vec::new();
    if !anchored.contains('/') {
        parts.push(b"**");
    }
    parts.extend(anchored.trim_start_matches('/').split('/').map(str::as_bytes));
    let path: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    components(&parts, &path)
}

/// Whether any of several patterns does.
pub fn any_covers(patterns: &[String], path: &[u8]) -> bool {
    patterns.iter().any(|pattern| covers(pattern, path))
}

fn components(pattern: &[&[u8]], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([], _) => true,
        ([b"**", rest @ ..], _) => (0..=path.len()).any(|skipped| {
            // Matching nothing at all would make a trailing `**` the directory itself.
            let below = path.get(skipped..).unwrap_or_default();
            (!rest.is_empty() || skipped > 0) && components(rest, below)
        }),
        (_, []) => false,
        ([first, rest @ ..], [name, below @ ..]) => one(first, name) && components(rest, below),
    }
}

/// One component, in time proportional to the product of both lengths.
fn one(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(b'?'), Some(_)) => (p, n) = (p + 1, n + 1),
            (Some(a), Some(b)) if a == b => (p, n) = (p + 1, n + 1),
            (None, None) => return true,
            _ => {
                let Some((at, from)) = star.filter(|(_, from)| *from < name.len()) else {
                    return false;
                };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn pattern_covers_what_it_names_and_all_below() {
        for (pattern, path) in [
            ("local.conf", "local.conf"),
            ("local.conf", "a/b/local.conf"),
            ("*.log", "var/x.log"),
            ("var/*.log", "var/x.log"),
            ("var", "var/deep/er"),
            ("/var/", "var/x"),
            ("a/**/z", "a/z"),
            ("a/**/z", "a/b/c/z/below"),
            ("a/**", "a/b"),
            ("a?c", "abc"),
            ("*a*b", "xaxxb"),
        ] {
            assert!(covers(pattern, path.as_bytes()), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("local.conf", "local.conf.bak"),
            ("var/*.log", "var/x/y.log"),
            ("/var", "a/var"),
            ("var/x", "var"),
            ("a/**", "a"),
            ("a?c", "a/c"),
            ("*a*b", "xaxxbc"),
        ] {
            assert!(!covers(pattern, path.as_bytes()), "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_end_quickly() {
        let path = "a".repeat(255);
        assert!(!covers(&format!("{}b", "*a".repeat(100)), path.as_bytes()));
    }
}
