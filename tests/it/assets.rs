//! The choice of a release file: the recorded cases, and projects with instructive names.

use reconcile::model::facts::{Arch, Libc};
use reconcile::resolve::asset::{Listing, Selection, Target, Verdict, select};
use reconcile::resource::app::spec::{AssetWish, Narrow, TagPattern};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    listings: Vec<RecordedListing>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct RecordedListing {
    id: String,
    project: String,
    tag: String,
    assets: Vec<String>,
}

#[derive(Deserialize)]
struct Case {
    listing: String,
    target: String,
    tool: String,
    #[serde(default)]
    r#match: Option<String>,
    accept: Vec<String>,
    #[serde(default)]
    refuse_ok: bool,
}

fn target(text: &str) -> Target {
    let (arch, libc) = match text {
        "linux-x86_64-gnu" => (Arch::X86_64, Libc::Gnu),
        "linux-arm64-gnu" => (Arch::Aarch64, Libc::Gnu),
        "linux-x86_64-musl" => (Arch::X86_64, Libc::Musl),
        "linux-arm64-musl" => (Arch::Aarch64, Libc::Musl),
        other => panic!("no such target: {other}"),
    };
    Target { arch, libc }
}

fn choose<'a>(
    names: &[&'a str],
    (project, tool, tag): (&str, &str, &str),
    wish: &AssetWish,
    target: Target,
) -> (Option<&'a str>, Selection) {
    let version = version(tag);
    let repo = project.split_once('/').map_or(project, |(_, repo)| repo);
    let listing =
        Listing { names: names.to_vec(), wanted: vec![tool, repo], tag, version: &version };
    let selection = select(&listing, wish, &target);
    let chosen = match &selection.verdict {
        Verdict::Chosen { index, .. } => Some(names[*index]),
        Verdict::Refused(_) => None,
    };
    (chosen, selection)
}

/// As a tag pattern written for the project would: from the first digit on.
fn version(tag: &str) -> reconcile::model::Version {
    let plain = TagPattern::Plain.version(tag);
    let from_digit = tag.find(|c: char| c.is_ascii_digit()).map_or(tag, |at| tag.split_at(at).1);
    plain.filter(|v| !v.is_opaque()).unwrap_or_else(|| from_digit.parse().unwrap())
}

fn auto(contains: Option<String>) -> AssetWish {
    AssetWish::Auto(Narrow { contains, ..Narrow::default() })
}

#[test]
fn recorded_listings_are_chosen_from_rightly() {
    let text = std::fs::read_to_string("tests/cases/asset-selection.json").unwrap();
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    let (mut right, mut refused, mut wrong) = (0, 0, 0);
    for case in &recorded.cases {
        let listing = recorded.listings.iter().find(|l| l.id == case.listing).unwrap();
        let names: Vec<&str> = listing.assets.iter().map(String::as_str).collect();
        let what = (listing.project.as_str(), case.tool.as_str(), listing.tag.as_str());
        let wish = auto(case.r#match.clone());
        let (chosen, selection) = choose(&names, what, &wish, target(&case.target));
        let accounted = selection.rejected.len() + usize::from(chosen.is_some());
        assert_eq!(accounted, names.len(), "{}: every name has its reason", case.listing);
        match chosen {
            Some(name) if case.accept.iter().any(|a| a == name) => right += 1,
            None if case.accept.is_empty() || case.refuse_ok => right += 1,
            Some(name) => {
                wrong += 1;
                println!("wrong: {} {}: {name}, not {:?}", case.listing, case.target, case.accept);
            }
            None => {
                refused += 1;
                println!("refused: {} {}: {:?}", case.listing, case.target, selection.verdict);
            }
        }
    }
    let all = recorded.cases.len();
    println!("asset selection: {right} right, {refused} refused, {wrong} wrong of {all}");
    assert_eq!(wrong, 0, "wrong choices");
    assert!(right * 100 >= all * 99, "{right} right of {all}");
}

/// The blocks of `tests/cases/asset-names.txt`; the format is stated there.
#[test]
fn well_known_projects_are_chosen_from_as_their_maintainers_mean() {
    let text = std::fs::read_to_string("tests/cases/asset-names.txt").unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for block in text.split("\n= ").skip(1) {
        let (head, body) = block.split_once('\n').unwrap();
        let [project, tool, tag] = head.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{head}")
        };
        let (names, wishes): (Vec<&str>, Vec<&str>) = body
            .lines()
            .partition(|line| !line.starts_with("x86_64-") && !line.starts_with("arm64-"));
        let names: Vec<&str> = names.iter().flat_map(|line| line.split_whitespace()).collect();
        for wish in wishes {
            let (on, expected) = wish.split_once(' ').unwrap();
            let on = target(&format!("linux-{on}"));
            let (chosen, selection) = choose(&names, (project, tool, tag), &auto(None), on);
            checked += 1;
            if chosen.unwrap_or("-") != expected {
                wrong.push(format!("{head} {on}: {expected}, not {:?}", selection.verdict));
            }
        }
    }
    assert!(checked > 150, "{checked} read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
