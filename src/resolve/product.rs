//! Which releases of a shared directory belong to an app; pure.

use std::collections::BTreeSet;

use crate::model::{BlockedReason, Release};
use crate::resource::decision::Problem;

/// Products named in one message.
const PRODUCTS_SHOWN_MAX: usize = 5;

/// Leaves only files of the product that bears one of the `wanted` names, where a directory without a
/// pattern holds several: `hello-1.0.tar.gz` and `weather-2.0.gz` are no releases of one program.
pub fn only_wanted(releases: Vec<Release>, wanted: &[&str]) -> Result<Vec<Release>, Problem> {
    let products: BTreeSet<String> = releases
        .iter()
        .flat_map(|r| r.artifacts.iter().filter_map(|a| product(&a.name, r.version.as_str())))
        .collect();
    if products.len() < 2 {
        return Ok(releases);
    }
    let ours: BTreeSet<&String> =
        wanted.iter().find_map(|name| of(&products, name)).unwrap_or_default();
    if ours.is_empty() {
        let shown: Vec<&str> =
            products.iter().take(PRODUCTS_SHOWN_MAX).map(String::as_str).collect();
        return Err(Problem {
            reason: BlockedReason::Ambiguous,
            message: format!(
                "the directory holds several products ({}); say which with `pattern: \
                 \"NAME-{{version}}…\"` in the source",
                shown.join(", ")
            ),
            until: None,
        });
    }
    let kept = releases.into_iter().filter_map(|mut release| {
        let version = release.version.as_str().to_owned();
        let belongs = |name: &str| product(name, &version);
        let is_ours = |name: &str| belongs(name).is_some_and(|p| ours.contains(&p));
        if !release.artifacts.iter().any(|a| is_ours(&a.name)) {
            return None;
        }
        release.artifacts.retain(|a| belongs(&a.name).is_none_or(|p| ours.contains(&p)));
        Some(release)
    });
    Ok(kept.collect())
}

/// The product of that name; else those whose names go on after it (`tool_linux_amd64`).
fn of<'a>(products: &'a BTreeSet<String>, name: &str) -> Option<BTreeSet<&'a String>> {
    let name = name.to_ascii_lowercase();
    if let Some(exact) = products.get(&name) {
        return Some(BTreeSet::from([exact]));
    }
    let longer = products.iter().filter(|product| {
        let rest = product.strip_prefix(name.as_str());
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    });
    let longer: BTreeSet<&String> = longer.collect();
    (!longer.is_empty()).then_some(longer)
}

/// What stands before the version in a file's name; `None` for `SHA256SUMS` and the like.
fn product(name: &str, version: &str) -> Option<String> {
    let (before, _) = name.split_once(version)?;
    let before = before.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let before = before.strip_suffix("-v").or(before.strip_suffix("_v")).unwrap_or(before);
    (!before.is_empty() && before != "v").then(|| before.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Artifact;

    fn release(version: &str, names: &[&str]) -> Release {
        let artifact = |name: &&str| Artifact {
            name: (*name).to_owned(),
            urls: Vec::new(),
            size: None,
            digest: None,
            content: None,
        };
        Release {
            version: version.parse().unwrap(),
            tag: version.to_owned(),
            prerelease: false,
            published: None,
            artifacts: names.iter().map(artifact).collect(),
        }
    }

    #[test]
    fn another_product_of_the_same_directory_is_never_taken() {
        let all = vec![
            release("1.1.0", &["hello-1.1.0.tar.gz", "weather-1.1.0.gz", "SHA256SUMS"]),
            release("2.0", &["hello-v2.0.tar.gz", "SHA256SUMS"]),
        ];
        let kept = only_wanted(all.clone(), &["weather"]).unwrap();
        assert_eq!(kept, [release("1.1.0", &["weather-1.1.0.gz", "SHA256SUMS"])]);
        assert_eq!(only_wanted(all.clone(), &["hello"]).unwrap().len(), 2);
        assert_eq!(only_wanted(all, &["tool"]).unwrap_err().reason, BlockedReason::Ambiguous);
    }

    #[test]
    fn a_platform_before_the_version_is_no_other_product() {
        let names = ["tool_linux_amd64_1.0.gz", "tool_darwin_amd64_1.0.gz", "other_1.0.gz"];
        let kept = only_wanted(vec![release("1.0", &names)], &["tool"]).unwrap();
        assert_eq!(kept, [release("1.0", &names[..2])]);
    }

    #[test]
    fn one_product_may_have_any_name() {
        let all = vec![release("1.0", &["rg-1.0-x86_64.tar.gz", "rg-1.0-aarch64.tar.gz"])];
        assert_eq!(only_wanted(all.clone(), &["ripgrep"]).unwrap(), all);
    }
}
