//! Catalogs of extensions that the host names, as updex 2 reads them.

use std::collections::BTreeMap;

use crate::format::sysupdate::ini::{FILE_BYTES_MAX, parse};
use crate::format::sysupdate::search::BASES;
use crate::host::Look;
use crate::model::outcome::chain;

/// Where catalogs are, below each of [`BASES`].
const DIRECTORY: &str = "updex/catalogs.d";

/// What their names end with.
const ENDING: &str = ".catalog";

/// One catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// The file's name without its ending.
    pub name: String,
    /// `SiteURL=`: a directory for each extension is right below it.
    pub site: String,
    /// `ListURL=`: what lists these directories, as the contents API of GitHub does.
    pub list: Option<String>,
}

/// Every catalog of the host, by name; of several files of one name the first place wins.
pub fn catalogs(host: &Look, notes: &mut Vec<String>) -> Vec<Catalog> {
    let mut found: BTreeMap<String, Catalog> = BTreeMap::new();
    for base in BASES {
        let directory = format!("{base}/{DIRECTORY}");
        for item in host.list(&directory).ok().flatten().unwrap_or_default() {
            let Some(name) = item.name.strip_suffix(ENDING) else { continue };
            if found.contains_key(name) {
                continue;
            }
            match read(host, &format!("{directory}/{}", item.name), name) {
                Ok(catalog) => drop(found.insert(name.to_owned(), catalog)),
                Err(why) => notes.push(why),
            }
        }
    }
    found.into_values().collect()
}

fn read(host: &Look, path: &str, name: &str) -> Result<Catalog, String> {
    let bytes = host.read(path, FILE_BYTES_MAX as u64);
    let bytes = bytes.map_err(|e| format!("{path}: {e}"))?.unwrap_or_default();
    let mut warnings = Vec::new();
    let assignments = parse(path, &bytes, &["Catalog"], &mut warnings).map_err(|e| chain(&e))?;
    let value = |key: &str| {
        let at = assignments.iter().rev().find(|at| at.key == key)?;
        Some(at.value.clone()).filter(|value| !value.is_empty())
    };
    let site = value("SiteURL").ok_or_else(|| format!("{path}: `SiteURL=` is missing"))?;
    Ok(Catalog { name: name.to_owned(), site, list: value("ListURL") })
}
