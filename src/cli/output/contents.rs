//! What a change makes of the paths inside a tree, for people.

use crate::cli::output::units::bytes;
use crate::model::contents::{Contents, PathChangeKind, Sum};

/// One line that counts, then one for each of the first `most` paths.
pub fn lines(contents: &Contents, most: usize) -> Vec<String> {
    let Contents { added, changed, removed, undecided, paths, unchecked, .. } = contents;
    let sum = |what: &str, sum: &Sum| {
        (sum.paths > 0).then(|| format!("{} {what}{}", sum.paths, size(sum.bytes)))
    };
    let mut parts: Vec<String> =
        [sum("added", added), sum("changed", changed), sum("removed", removed)]
            .into_iter()
            .flatten()
            .collect();
    if *undecided > 0 {
        parts.push(format!("{undecided} perhaps changed"));
    }
    if parts.is_empty() {
        parts.push("no path becomes another".to_owned());
    }
    if *unchecked {
        parts.push("as the listing beside the index says, unchecked".to_owned());
    }
    let mut lines = vec![format!("paths: {}", parts.join(", "))];
    for path in paths.iter().take(most) {
        let sign = match path.kind {
            PathChangeKind::Added => '+',
            PathChangeKind::Changed => '~',
            PathChangeKind::Removed => '-',
        };
        let name = if path.path.is_empty() { "." } else { &path.path };
        lines.push(format!("{sign} {}{}", name.escape_debug(), size(path.bytes)));
    }
    let more = contents.unlisted() + paths.len().saturating_sub(most) as u64;
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn size(count: u64) -> String {
    if count == 0 { String::new() } else { format!(" ({})", bytes(count)) }
}
