//! casync-updater's server configuration: which trees are published where.
//!
//! `{"index": "….caidx", "store": "….castr", "source": "dir"}`, or a list of such objects. Other keys are passed
//! over, as casync-updater does; an object that lacks one of these is an error, where casync-updater silently
//! publishes nothing. Source: `server.js` of bcc-code/casync-updater.

use std::fs::File;
use std::io::Read;

use camino::Utf8Path;
use serde_json::Value;

use super::{Profile, Publication, PublishError};

/// Bytes of a configuration that are read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The publications of a configuration file, in its order, with casync-updater's own profile.
pub fn read(path: &Utf8Path) -> Result<Vec<Publication>, PublishError> {
    let failed = |source| PublishError::Read { path: path.to_string(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    parse(&text).map_err(|why| PublishError::Config { path: path.to_owned(), why })
}

/// The publications of a configuration, or what is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Publication>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match &value {
        Value::Array(entries) if !entries.is_empty() => {
            (1..).zip(entries).map(|(number, value)| entry(number, value)).collect()
        }
        Value::Object(_) => entry(1, &value).map(|one| vec![one]),
        _ => Err("write an object with `index`, `store` and `source`, or a list of them".into()),
    }
}

fn entry(number: usize, value: &Value) -> Result<Publication, String> {
    let path = |key: &str| match value.get(key).and_then(Value::as_str) {
        Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Utf8Path::new(path)),
        _ => Err(format!("entry {number} has no path as its `{key}`")),
    };
    let publication = Publication::new(path("source")?, path("index")?, path("store")?);
    Ok(Publication { profile: Profile::CasyncUpdater, ..publication })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"index": "a.caidx", "store": "a.castr", "source": "a b", "other": 1}"#;

    #[test]
    fn one_object_and_a_list_are_read() {
        let one = parse(ONE).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].tree.as_str(), one[0].profile), ("a b", Profile::CasyncUpdater));
        assert_eq!(parse(&format!("[{ONE}, {ONE}]")).unwrap().len(), 2);
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = format!(r#"[{ONE}, {{"index": "x", "store": ""}}]"#);
        assert_eq!(parse(&text).unwrap_err(), "entry 2 has no path as its `source`");
        for text in ["", "[]", "7", "{"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
