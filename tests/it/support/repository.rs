//! A Git repository made object by object, commits signed by SSH keys made on the spot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use gix::objs::{Kind, Write as _};

/// A bare repository.
pub struct Origin {
    directory: tempfile::TempDir,
    repository: gix::Repository,
    clock: u64,
}

/// An SSH key.
pub struct Key(Ed25519KeyPair);

/// What a tree entry is.
pub enum Entry<'a> {
    /// A file.
    File(&'a str),
    /// A symbolic link.
    Link(&'a str),
}

impl Key {
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        fields([b"ssh-ed25519".as_slice(), self.0.public_key().as_ref()])
    }

    /// A line of an `allowed_signers` file.
    pub fn allowed(&self, principal: &str, options: &str) -> String {
        format!("{principal} {options} ssh-ed25519 {}\n", BASE64.encode(&self.blob()))
    }

    /// What `ssh-keygen -Y sign -n git` writes.
    pub fn sign(&self, message: &[u8]) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, message);
        let mut signed = b"SSHSIG".to_vec();
        signed.extend(fields([b"git".as_slice(), b"", b"sha512", digest.as_ref()]));
        let signature = fields([b"ssh-ed25519".as_slice(), self.0.sign(&signed).as_ref()]);
        let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
        blob.extend(fields([self.blob().as_slice(), b"git", b"", b"sha512", &signature]));
        let base64 = BASE64.encode(&blob);
        let lines: Vec<&str> =
            base64.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            lines.join("\n")
        )
    }
}

fn fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let field = |field: &[u8]| [&u32::try_from(field.len()).unwrap().to_be_bytes(), field].concat();
    fields.into_iter().flat_map(field).collect()
}

impl Origin {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = gix::init_bare(directory.path().join("state.git")).unwrap();
        Self { directory, repository, clock: 1_700_000_000 }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("state.git")
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Writes an object as it is.
    pub fn object(&self, kind: Kind, bytes: &[u8]) -> String {
        self.repository.objects.write_buf(kind, bytes).unwrap().to_string()
    }

    /// Writes a tree of files and links by path.
    pub fn tree(&self, entries: &[(&str, Entry<'_>)]) -> String {
        let mut here: BTreeMap<String, (&str, String)> = BTreeMap::new();
        let mut below: BTreeMap<&str, Vec<(&str, Entry<'_>)>> = BTreeMap::new();
        for (path, entry) in entries {
            let (mode, text) = match entry {
                Entry::File(text) => ("100644", text),
                Entry::Link(target) => ("120000", target),
            };
            match path.split_once('/') {
                None => {
                    let id = self.object(Kind::Blob, text.as_bytes());
                    here.insert((*path).to_owned(), (mode, id));
                }
                Some((directory, rest)) => {
                    let entry = match entry {
                        Entry::File(text) => Entry::File(text),
                        Entry::Link(target) => Entry::Link(target),
                    };
                    below.entry(directory).or_default().push((rest, entry));
                }
            }
        }
        for (directory, entries) in below {
            here.insert(format!("{directory}/"), ("40000", self.tree(&entries)));
        }
        let mut bytes = Vec::new();
        for (name, (mode, id)) in here {
            bytes.extend(raw_entry(mode, name.trim_end_matches('/'), &id));
        }
        self.object(Kind::Tree, &bytes)
    }

    /// Writes a commit of a tree.
    pub fn commit_tree(&mut self, tree: &str, parents: &[&str], key: Option<&Key>) -> String {
        self.clock += 60;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        let who = format!("Ops <ops@example.net> {} +0000", self.clock);
        text.push_str(&format!("author {who}\ncommitter {who}\n"));
        let message = "\nA change\n";
        let signature = key.map(|key| key.sign(format!("{text}{message}").as_bytes()));
        if let Some(signature) = signature {
            text.push_str(&format!("gpgsig {}\n", signature.trim_end().replace('\n', "\n ")));
        }
        text.push_str(message);
        self.object(Kind::Commit, text.as_bytes())
    }

    /// Writes a commit of files.
    pub fn commit(
        &mut self,
        files: &[(&str, &str)],
        parents: &[&str],
        key: Option<&Key>,
    ) -> String {
        let entries: Vec<_> = files.iter().map(|(path, text)| (*path, Entry::File(text))).collect();
        let tree = self.tree(&entries);
        self.commit_tree(&tree, parents, key)
    }

    /// Writes an annotated tag of a commit.
    pub fn tag(&self, name: &str, commit: &str, key: Option<&Key>) -> String {
        let mut text = format!(
            "object {commit}\ntype commit\ntag {name}\ntagger Ops <ops@example.net> 1700000000 +0000\n\nA release\n"
        );
        if let Some(key) = key {
            text.push_str(&key.sign(text.as_bytes()));
        }
        self.object(Kind::Tag, text.as_bytes())
    }

    /// Points a reference at an object, whatever it pointed at.
    pub fn point(&self, reference: &str, id: &str) {
        let path = self.path().join(reference);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{id}\n")).unwrap();
    }

    /// Takes the repository away.
    pub fn hide(&self) {
        std::fs::rename(self.path(), self.directory.path().join("away.git")).unwrap();
    }

    /// Brings it back.
    pub fn show(&self) {
        std::fs::rename(self.directory.path().join("away.git"), self.path()).unwrap();
    }

    /// A directory beside the repository.
    pub fn beside(&self) -> &Path {
        self.directory.path()
    }
}

/// One entry of a tree as it is stored.
pub fn raw_entry(mode: &str, name: &str, id: &str) -> Vec<u8> {
    let mut bytes = format!("{mode} {name}\0").into_bytes();
    bytes.extend(data_encoding::HEXLOWER.decode(id.as_bytes()).unwrap());
    bytes
}
