//! Where a repository is, what is followed in it, and which directory of it is wanted.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use sha2::{Digest as _, Sha256};

/// The longest URL, reference or path that is taken.
const TEXT_BYTES_MAX: usize = 4096;

/// A repository, a branch or tag of it, and a directory in that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    local: Option<Utf8PathBuf>,
    reference: String,
    path: Utf8PathBuf,
}

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} `{text}` cannot be used: {why}")]
pub struct AddressError {
    what: &'static str,
    text: String,
    why: &'static str,
}

impl Address {
    /// An address from its parts as typed. `reference` is `HEAD`, a branch, a tag, or a full name below `refs/`.
    pub fn new(url: &str, reference: &str, path: &str) -> Result<Self, AddressError> {
        let refuse = |what, text: &str, why| {
            let text = text.escape_debug().to_string();
            Err(AddressError { what, text, why })
        };
        let control =
            |text: &str| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control);
        if url.is_empty() || control(url) || url.starts_with('-') {
            return refuse("URL", url, "it is empty, too long or begins with `-`");
        }
        let local = match local(url) {
            Ok(local) => local,
            Err(why) => return refuse("URL", &without_secret(url), why),
        };
        if let Err(why) = plain_reference(reference) {
            return refuse("branch or tag", reference, why);
        }
        let mut inside = Utf8PathBuf::new();
        for component in Utf8Path::new(path).components() {
            match component {
                Utf8Component::Normal(name) => inside.push(name),
                Utf8Component::CurDir => {}
                _ => return refuse("directory", path, "it is not a path inside the repository"),
            }
        }
        if control(path) {
            return refuse("directory", path, "it has control characters or is too long");
        }
        Ok(Self { url: url.to_owned(), local, reference: reference.to_owned(), path: inside })
    }

    /// The URL; it has no password in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory, when the repository is on this host.
    pub fn local(&self) -> Option<&Utf8Path> {
        self.local.as_deref()
    }

    /// Whether the repository is on this host.
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// The branch or tag.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The wanted directory, relative to the repository's top.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// What names this desired state from one commit, branch or tag to the next.
    pub fn label(&self) -> String {
        if self.path.as_str().is_empty() {
            self.url.clone()
        } else {
            format!("{}//{}", self.url, self.path)
        }
    }

    /// A file name for what is cached of the repository.
    pub fn slug(&self) -> String {
        let digest = Sha256::digest(self.url.as_bytes());
        data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default())
    }
}

/// The directory of a repository on this host; `None` for one elsewhere.
fn local(url: &str) -> Result<Option<Utf8PathBuf>, &'static str> {
    if let Some(path) = url.strip_prefix("file://") {
        let path = percent_encoding::percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| "it is not UTF-8")?;
        return if path.starts_with('/') {
            Ok(Some(path.into_owned().into()))
        } else {
            Err("write `file:///` and an absolute path")
        };
    }
    if url.starts_with('/') {
        return Ok(Some(url.into()));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        // `user@host:path`, as ssh writes it; a colon after a slash belongs to a path.
        let host = url.split('/').next().unwrap_or_default();
        let scp = host.contains(':') && !host.contains("::");
        return if scp {
            Ok(None)
        } else {
            Err("write a URL, `user@host:path` or an absolute path")
        };
    };
    if !matches!(scheme, "https" | "http" | "ssh") {
        return Err("the schemes are https, http, ssh and file");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            Err("a password in it would be seen by everybody; use the credential `git-token`")
        }
        _ => Ok(None),
    }
}

/// The URL without what stands between scheme and host.
fn without_secret(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((_, host)) => format!("{scheme}://…@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

/// The rules of `git-check-ref-format(1)`, a little stricter.
fn plain_reference(reference: &str) -> Result<(), &'static str> {
    let banned = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let component = |part: &str| {
        part.is_empty()
            || part.starts_with(['.', '-'])
            || part.ends_with('.')
            || part.ends_with(".lock")
    };
    let wrong = reference.len() > TEXT_BYTES_MAX
        || reference.contains(banned)
        || reference.contains("..")
        || reference.contains("@{")
        || reference == "@"
        || reference.split('/').any(component);
    if wrong { Err("it is no name of a branch or tag") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_of_all_transports_are_taken() {
        for (url, local) in [
            ("https://git.example.net/state.git", None),
            ("ssh://git@git.example.net:2222/state.git", None),
            ("git@git.example.net:state.git", None),
            ("file:///srv/my%20state.git", Some("/srv/my state.git")),
            ("/srv/state.git", Some("/srv/state.git")),
        ] {
            let address = Address::new(url, "main", "hosts/./web").unwrap();
            assert_eq!(address.local().map(camino::Utf8Path::as_str), local, "{url}");
            assert_eq!(address.label(), format!("{url}//hosts/web"));
        }
    }

    #[test]
    fn addresses_that_could_mean_something_else_are_refused() {
        for url in [
            "",
            "-oProxyCommand=x",
            "ext::sh -c x",
            "git://git.example.net/state.git",
            "https://user:secret@git.example.net/state.git",
            "file://relative",
            "state",
        ] {
            let error = Address::new(url, "main", "").unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        for reference in ["", "a..b", "a b", "*", "-x", "refs/heads/", "a.lock", "a:b", "@{u}"] {
            assert!(Address::new("/srv/x", reference, "").is_err(), "{reference}");
        }
        for path in ["../x", "/etc", "a/../../b"] {
            assert!(Address::new("/srv/x", "main", path).is_err(), "{path}");
        }
    }
}
