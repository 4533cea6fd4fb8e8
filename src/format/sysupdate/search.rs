//! Where definitions are: which files make which definitions, and in which order.
//!
//! Source: sysupdate.d(5) and the behaviour of systemd 262. Definitions are in `sysupdate.d`, those
//! of a component in `sysupdate.NAME.d`, below each of [`BASES`]. Of files with the same name the
//! one in the earliest base counts; when that one is empty or a link to `/dev/null`, there is no
//! such definition. Drop-ins are in `FILE.d/*.conf` below any base, in the order of their names,
//! and hide each other in the same way. Definitions are processed in the order of their file names.
//! When there is no `.transfer` at all, `.conf` files are taken for transfers. What is masked is
//! told by whoever lists the directories.

use std::collections::BTreeMap;

/// Directories that hold definitions, the most important first.
pub const BASES: [&str; 4] = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];

/// Longest file name of Linux, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// What systemd says when it falls back to `.conf` files.
const OLD_ENDING: &str = "As of v257, transfer definitions should have the '.transfer' extension.";

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What is there.
    pub kind: ListedKind,
}

/// What a name in a listing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A regular file, or a link to one, that holds something.
    File,
    /// An empty file or a link to `/dev/null`.
    Mask,
    /// A directory and what is in it; one level is enough.
    Directory(Vec<Listed>),
}

/// One directory's listing; of a base, or of a directory with definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// What is in it, in any order.
    pub listed: Vec<Listed>,
}

/// The files of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file's name without its ending.
    pub id: String,
    /// The main file.
    pub main: String,
    /// Its drop-ins, in the order in which they are read.
    pub drop_ins: Vec<String>,
}

/// The definitions of one component, or of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// `.feature` files by name.
    pub features: Vec<Found>,
    /// `.transfer` files by name, or `.conf` files when there is none.
    pub transfers: Vec<Found>,
    /// File names that are masked.
    pub masked: Vec<String>,
    /// What an operator should repair.
    pub warning: Option<&'static str>,
}

/// Finds definitions in directories, the most important first. `--definitions=DIR` is one
/// directory.
pub fn definitions(folders: &[Folder]) -> Definitions {
    let mut found = Definitions::default();
    found.features = with_ending(folders, ".feature", &mut found.masked);
    found.transfers = with_ending(folders, ".transfer", &mut found.masked);
    if found.transfers.is_empty() {
        found.transfers = with_ending(folders, ".conf", &mut found.masked);
        found.warning = (!found.transfers.is_empty()).then_some(OLD_ENDING);
    }
    found
}

fn with_ending(folders: &[Folder], ending: &str, masked: &mut Vec<String>) -> Vec<Found> {
    let mut found = Vec::new();
    for (name, file) in first_of_each(folders, ending) {
        match file {
            Some(main) => {
                let id = name.strip_suffix(ending).unwrap_or(name).to_owned();
                found.push(Found { id, main, drop_ins: drop_ins(folders, name) });
            }
            None => masked.push(name.to_owned()),
        }
    }
    found
}

/// For every file name with an ending, the first path; `None` where that is a mask.
fn first_of_each<'a>(folders: &'a [Folder], ending: &str) -> BTreeMap<&'a str, Option<String>> {
    let mut first = BTreeMap::new();
    for folder in folders {
        for Listed { name, kind } in &folder.listed {
            let fits = name.strip_suffix(ending).is_some_and(|stem| !stem.is_empty());
            if !fits || name.starts_with('.') {
                continue;
            }
            let path = match kind {
                ListedKind::File => Some(format!("{}/{name}", folder.path)),
                ListedKind::Mask => None,
                ListedKind::Directory(_) => continue,
            };
            first.entry(name.as_str()).or_insert(path);
        }
    }
    first
}

/// The drop-ins of a file, from the `FILE.d` of every directory.
fn drop_ins(folders: &[Folder], file: &str) -> Vec<String> {
    let wanted = format!("{file}.d");
    let inner: Vec<Folder> = folders
        .iter()
        .filter_map(|folder| {
            let listed = folder.listed.iter().find(|listed| listed.name == wanted)?;
            let ListedKind::Directory(listed) = &listed.kind else { return None };
            Some(Folder { path: format!("{}/{wanted}", folder.path), listed: listed.clone() })
        })
        .collect();
    first_of_each(&inner, ".conf").into_values().flatten().collect()
}

/// The name of the directory with the definitions of a component, or of the host.
pub fn folder_name(component: Option<&str>) -> String {
    component.map_or_else(|| "sysupdate.d".to_owned(), |name| format!("sysupdate.{name}.d"))
}

/// A component that has a directory of definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundComponent {
    /// Its name.
    pub name: String,
    /// Its metadata, `sysupdate.NAME.component`, and the drop-ins of that, in the order of reading.
    pub metadata: Vec<String>,
}

/// What components there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Components {
    /// True when there is a `sysupdate.d` with a transfer in it.
    pub default: bool,
    /// By name.
    pub components: Vec<FoundComponent>,
}

/// Finds components in the listings of [`BASES`], the most important first.
pub fn components(bases: &[Folder]) -> Components {
    let mut names: Vec<&str> = Vec::new();
    let mut host: Vec<Folder> = Vec::new();
    for Folder { path, listed } in bases {
        for listed in listed {
            let ListedKind::Directory(inside) = &listed.kind else { continue };
            if listed.name == folder_name(None) {
                let path = format!("{path}/{}", listed.name);
                host.push(Folder { path, listed: inside.clone() });
            }
            let name = listed.name.strip_prefix("sysupdate.").and_then(|n| n.strip_suffix(".d"));
            names.extend(name.filter(|name| is_component_name(name)));
        }
    }
    names.sort_unstable();
    names.dedup();
    let components = names
        .into_iter()
        .map(|name| FoundComponent { name: name.to_owned(), metadata: metadata(bases, name) });
    Components {
        default: !definitions(&host).transfers.is_empty(),
        components: components.collect(),
    }
}

fn metadata(bases: &[Folder], component: &str) -> Vec<String> {
    let file = format!("sysupdate.{component}.component");
    let main = first_of_each(bases, ".component").remove(file.as_str()).flatten();
    main.into_iter().chain(drop_ins(bases, &file)).collect()
}

/// True for names between `sysupdate.` and `.d` that make one unambiguous file name.
pub fn is_component_name(name: &str) -> bool {
    let whole = format!("sysupdate.{name}.component.d");
    !name.is_empty()
        && !name.ends_with(".component")
        && !name.contains('/')
        && !name.chars().any(char::is_control)
        && whole.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Listed {
        Listed { name: name.to_owned(), kind: ListedKind::File }
    }

    fn mask(name: &str) -> Listed {
        Listed { name: name.to_owned(), kind: ListedKind::Mask }
    }

    fn directory(name: &str, listed: &[Listed]) -> Listed {
        Listed { name: name.to_owned(), kind: ListedKind::Directory(listed.to_vec()) }
    }

    fn folder(path: &str, listed: &[Listed]) -> Folder {
        Folder { path: path.to_owned(), listed: listed.to_vec() }
    }

    fn mains(found: &[Found]) -> Vec<&str> {
        found.iter().map(|f| f.main.as_str()).collect()
    }

    #[test]
    fn earlier_directories_hide_later_ones() {
        let found = definitions(&[
            folder("/etc", &[file("20-b.transfer"), mask("f.feature"), file(".x.transfer")]),
            folder("/run", &[file("10-a.transfer"), file("README"), file(".transfer")]),
            folder("/usr", &[file("20-b.transfer"), file("f.feature"), file("g.feature")]),
        ]);
        assert_eq!(mains(&found.transfers), ["/run/10-a.transfer", "/etc/20-b.transfer"]);
        assert_eq!(mains(&found.features), ["/usr/g.feature"]);
        assert_eq!(found.transfers[1].id, "20-b");
        assert_eq!(found.masked, ["f.feature"]);
        assert_eq!(found.warning, None);
    }

    #[test]
    fn drop_ins_merge_over_all_directories_by_name() {
        let dir = |listed: &[Listed]| directory("a.transfer.d", listed);
        let found = definitions(&[
            folder("/etc", &[dir(&[file("50-z.conf"), mask("30-off.conf")])]),
            folder("/run", &[dir(&[file("10-x.conf"), file("50-z.conf"), file("notes")])]),
            folder("/usr", &[file("a.transfer"), dir(&[file("30-off.conf"), file("90.conf")])]),
        ]);
        assert_eq!(
            found.transfers[0].drop_ins,
            [
                "/run/a.transfer.d/10-x.conf",
                "/etc/a.transfer.d/50-z.conf",
                "/usr/a.transfer.d/90.conf"
            ]
        );
    }

    #[test]
    fn conf_files_count_only_without_transfers() {
        let old = [file("a.conf"), file("b.conf")];
        let found = definitions(&[folder("/etc", &old)]);
        assert_eq!(mains(&found.transfers), ["/etc/a.conf", "/etc/b.conf"]);
        assert!(found.warning.unwrap().starts_with("As of v257"));
        let found = definitions(&[folder("/etc", &old), folder("/usr", &[file("c.transfer")])]);
        assert_eq!(mains(&found.transfers), ["/usr/c.transfer"]);
        assert_eq!(found.warning, None);
        assert_eq!(definitions(&[]), Definitions::default());
    }

    #[test]
    fn components_are_found_with_their_metadata() {
        let found = components(&[
            folder(
                "/etc",
                &[
                    directory("sysupdate.web.component.d", &[file("50-on.conf")]),
                    directory("sysupdate.web.d", &[]),
                    directory("sysupdate.d", &[file("a.feature")]),
                ],
            ),
            folder(
                "/usr/lib",
                &[
                    file("sysupdate.web.component"),
                    directory("sysupdate.db.d", &[file("a.transfer")]),
                    directory("sysupdate..d", &[]),
                    directory("sysupdate.d", &[file("a.conf")]),
                ],
            ),
        ]);
        assert!(found.default);
        let names: Vec<_> = found.components.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["db", "web"]);
        assert_eq!(
            found.components[1].metadata,
            ["/usr/lib/sysupdate.web.component", "/etc/sysupdate.web.component.d/50-on.conf"]
        );
        assert_eq!(components(&[]), Components::default());
    }

    #[test]
    fn component_names_are_one_plain_file_name() {
        for name in ["foo", "foo.bar", "0815", "über"] {
            assert!(is_component_name(name), "{name}");
        }
        for name in ["", "a/b", "a\nb", "foo.component", &"x".repeat(250)] {
            assert!(!is_component_name(name), "{name:?}");
        }
        assert_eq!(folder_name(Some("web")), "sysupdate.web.d");
    }
}
