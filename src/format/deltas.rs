//! The list of patches to a release, `deltas.json`, as `reconcile publish release` writes it.
//!
//! ```text
//! <root>/<version>/deltas.json
//! {"format":"reconcile-deltas/1","deltas":[{"artifact":"tool-linux-x86_64.gz","program":"<sha256>",
//!  "from":{"version":"1.0","program":"<sha256>"},"patch":"deltas/1.0/tool-linux-x86_64.gz.zst","size":1234,
//!  "sha256":"<sha256>"}]}
//! ```
//!
//! `program` is the SHA-256, hexadecimal, of the one unpacked program of an artifact. A patch is as `zstd --patch-from`
//! makes it, from the old program to the new one; its path is relative to the list. The list vouches for what patches
//! make, so it is itself listed in the release's SHA256SUMS. Unknown members are passed over.

use serde::{Deserialize, Serialize};

use crate::model::{Algorithm, Digest, Version};

/// Name of the list.
pub const NAME: &str = "deltas.json";

/// Largest list read, in bytes: thousands of patches.
pub const BYTES_MAX: usize = 1 << 20;

/// What the list says of its own format.
const FORMAT: &str = "reconcile-deltas/1";

/// Longest path of a patch, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// A list of patches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deltas(pub Vec<Listed>);

/// One patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// File name of the artifact that it stands for.
    pub artifact: String,
    /// SHA-256 of the program that it makes.
    pub program: Digest,
    /// The version that it starts from; for people.
    pub from: Version,
    /// SHA-256 of the program that it starts from.
    pub base: Digest,
    /// Its path, relative to the list.
    pub patch: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Why a list was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DeltasError {
    /// Larger than [`BYTES_MAX`].
    #[error(
        "reading a list of patches: it is larger than {BYTES_MAX} bytes; publish the release again"
    )]
    TooLarge,
    /// Not such a list.
    #[error("reading a list of patches: it is no such list; publish the release again")]
    Json(#[source] serde_json::Error),
    /// Of another format.
    #[error("reading a list of patches: its format is not `{FORMAT}`; use a newer reconcile")]
    Format,
    /// A member cannot be used.
    #[error(
        "reading a list of patches: {what} of entry {entry} cannot be used; publish the release again"
    )]
    Entry {
        /// Which entry, from 0.
        entry: usize,
        /// Which member.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    deltas: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    artifact: String,
    program: String,
    from: Base,
    patch: String,
    size: u64,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Base {
    version: String,
    program: String,
}

impl Deltas {
    /// Reads a list.
    pub fn parse(bytes: &[u8]) -> Result<Self, DeltasError> {
        if bytes.len() > BYTES_MAX {
            return Err(DeltasError::TooLarge);
        }
        let document: Document = serde_json::from_slice(bytes).map_err(DeltasError::Json)?;
        if document.format != FORMAT {
            return Err(DeltasError::Format);
        }
        let entries = document.deltas.into_iter().enumerate();
        entries.map(|(at, entry)| listed(entry, at)).collect::<Result<_, _>>().map(Self)
    }

    /// The list as text.
    pub fn render(&self) -> String {
        let entry = |listed: &Listed| Entry {
            artifact: listed.artifact.clone(),
            program: listed.program.hex(),
            from: Base { version: listed.from.to_string(), program: listed.base.hex() },
            patch: listed.patch.clone(),
            size: listed.size,
            sha256: listed.sha256.hex(),
        };
        let deltas = self.0.iter().map(entry).collect();
        let document = Document { format: FORMAT.to_owned(), deltas };
        // Text and numbers can always be written.
        serde_json::to_string(&document).unwrap_or_default() + "\n"
    }

    /// The patch to the program of `artifact` from the program `base`.
    pub fn find(&self, artifact: &str, base: &Digest) -> Option<&Listed> {
        self.0.iter().find(|listed| listed.artifact == artifact && listed.base == *base)
    }
}

fn listed(entry: Entry, at: usize) -> Result<Listed, DeltasError> {
    let wrong = |what| DeltasError::Entry { entry: at, what };
    let digest = |hex: &str| Digest::from_hex(Algorithm::Sha256, hex);
    let odd = |c: char| c.is_control() || c.is_whitespace() || "\\?#%:".contains(c);
    let path = &entry.patch;
    let inside = !path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !inside || path.contains(odd) || path.len() > PATH_BYTES_MAX {
        return Err(wrong("`patch`"));
    }
    Ok(Listed {
        artifact: entry.artifact,
        program: digest(&entry.program).ok_or_else(|| wrong("`program`"))?,
        from: entry.from.version.parse().map_err(|_| wrong("`from.version`"))?,
        base: digest(&entry.from.program).ok_or_else(|| wrong("`from.program`"))?,
        patch: entry.patch,
        size: entry.size,
        sha256: digest(&entry.sha256).ok_or_else(|| wrong("`sha256`"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    #[test]
    fn list_says_what_was_written() {
        let listed = Listed {
            artifact: "tool.gz".to_owned(),
            program: digest(1),
            from: "1.0".parse().unwrap(),
            base: digest(2),
            patch: "deltas/1.0/tool.gz.zst".to_owned(),
            size: 7,
            sha256: digest(3),
        };
        let list = Deltas(vec![listed.clone()]);
        let read = Deltas::parse(list.render().as_bytes()).unwrap();
        assert_eq!(read, list);
        assert_eq!(read.find("tool.gz", &digest(2)), Some(&listed));
        assert_eq!(read.find("tool.gz", &digest(1)), None);
        assert_eq!(read.find("other.gz", &digest(2)), None);
        for bad in ["../x", "/x", "a//b", "a/../b", "http://x/", "a?b", "a%2e", ""] {
            let list = Deltas(vec![Listed { patch: bad.to_owned(), ..listed.clone() }]);
            let error = Deltas::parse(list.render().as_bytes()).unwrap_err();
            assert!(matches!(error, DeltasError::Entry { what: "`patch`", .. }), "{bad}: {error}");
        }
    }
}
