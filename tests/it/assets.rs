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

fn recorded() -> Recorded {
    let text = std::fs::read_to_string("tests/cases/asset-selection.json").unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Recorded {
    fn listing(&self, case: &Case) -> &RecordedListing {
        self.listings.iter().find(|listing| listing.id == case.listing).unwrap()
    }
}

impl Case {
    fn accepts(&self, name: &str) -> bool {
        self.accept.iter().any(|accepted| accepted == name)
    }

    fn accepts_refusal(&self) -> bool {
        self.accept.is_empty() || self.refuse_ok
    }
}

#[test]
fn recorded_listings_are_chosen_from_rightly() {
    let recorded = recorded();
    let (mut right, mut refused, mut wrong) = (0, 0, 0);
    for case in &recorded.cases {
        let listing = recorded.listing(case);
        let names: Vec<&str> = listing.assets.iter().map(String::as_str).collect();
        let what = (listing.project.as_str(), case.tool.as_str(), listing.tag.as_str());
        let wish = auto(case.r#match.clone());
        let (chosen, selection) = choose(&names, what, &wish, target(&case.target));
        let accounted = selection.rejected.len() + usize::from(chosen.is_some());
        assert_eq!(accounted, names.len(), "{}: every name has its reason", case.listing);
        match chosen {
            Some(name) if case.accepts(name) => right += 1,
            None if case.accepts_refusal() => right += 1,
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

#[test]
fn without_any_known_name_a_choice_is_still_right_or_refused() {
    let recorded = recorded();
    let mut refused = 0;
    for case in &recorded.cases {
        let listing = recorded.listing(case);
        let names: Vec<&str> = listing.assets.iter().map(String::as_str).collect();
        let wish = auto(case.r#match.clone());
        let what = ("nobody/unheard-of", "", listing.tag.as_str());
        match choose(&names, what, &wish, target(&case.target)).0 {
            Some(name) => assert!(case.accepts(name), "{} {}: {name}", case.listing, case.target),
            None => refused += usize::from(!case.accepts_refusal()),
        }
    }
    assert!(refused < 10, "{refused} refused");
}

/// What a release looks like while its files are still being uploaded. Only a musl build may be taken
/// instead, where it is the only one: whether it runs here is looked at once it is there.
#[test]
fn no_other_program_is_taken_while_the_right_file_is_missing() {
    let recorded = recorded();
    for case in &recorded.cases {
        let listing = recorded.listing(case);
        let left = |name: &&str| !case.accepts(name);
        let names: Vec<&str> = listing.assets.iter().map(String::as_str).filter(left).collect();
        let what = (listing.project.as_str(), case.tool.as_str(), listing.tag.as_str());
        let wish = auto(case.r#match.clone());
        if let Some(name) = choose(&names, what, &wish, target(&case.target)).0 {
            assert!(name.contains("-musl."), "{} {}: {name}", case.listing, case.target);
        }
    }
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

const X86: Target = Target { arch: Arch::X86_64, libc: Libc::Gnu };

const TRIPLES: [&str; 6] = [
    "tool-1.2.3-x86_64-unknown-linux-gnu.tar.gz",
    "tool-1.2.3-x86_64-unknown-linux-musl.tar.gz",
    "tool-1.2.3-x86_64-unknown-linux-musl.tar.gz.sha256",
    "tool-1.2.3-x86_64-unknown-linux-musl.zip",
    "tool-extras-1.2.3-x86_64-unknown-linux-gnu.tar.gz",
    "tool-1.2.3-aarch64-unknown-linux-gnu.tar.gz",
];

fn among_triples(wish: &AssetWish) -> (Option<&'static str>, Selection) {
    choose(&TRIPLES, ("example/tool", "tool", "v1.2.3"), wish, X86)
}

#[test]
fn runners_up_are_other_builds_of_the_same_program() {
    let (chosen, selection) = among_triples(&auto(None));
    assert_eq!(chosen, Some(TRIPLES[1]));
    let Verdict::Chosen { runners_up, .. } = selection.verdict else { panic!("refused") };
    assert_eq!(runners_up, [3, 0], "the other container, then the other C library");
    let reasons: Vec<String> = selection.rejected.iter().map(|r| r.reason.to_string()).collect();
    assert_eq!(
        reasons,
        [
            "another file fits better",
            "a checksum or signature",
            "another file fits better",
            "another file fits better",
            "for another processor (`aarch64`)",
        ]
    );
}

#[test]
fn a_wish_narrows_the_automatic_choice() {
    let narrow = |narrow: Narrow| among_triples(&AssetWish::Auto(narrow)).0;
    let gnu = Narrow { libc: Some(Libc::Gnu), ..Narrow::default() };
    assert_eq!(narrow(gnu), Some(TRIPLES[0]));
    let extras = Narrow { contains: Some("EXTRAS".to_owned()), ..Narrow::default() };
    assert_eq!(narrow(extras), Some(TRIPLES[4]));
    let zip = Narrow { regex: Some(r"\.zip$".to_owned()), ..Narrow::default() };
    assert_eq!(narrow(zip), Some(TRIPLES[3]));
    let no_musl = Narrow { exclude: Some("musl".to_owned()), ..Narrow::default() };
    assert_eq!(narrow(no_musl), Some(TRIPLES[0]));
}

#[test]
fn a_template_names_one_file_and_a_regex_the_first() {
    let exact = |template: &str| among_triples(&AssetWish::Exact(template.to_owned()));
    assert_eq!(exact("tool-{version}-{arch}-unknown-{os}-{libc}.tar.gz").0, Some(TRIPLES[0]));
    let (none, selection) = exact("tool-{version}.zip");
    assert_eq!(none, None);
    let Verdict::Refused(refusal) = selection.verdict else { panic!("chosen") };
    assert_eq!(
        refusal.to_string(),
        "choosing a file of release v1.2.3: there is no `tool-1.2.3.zip`; correct `asset`"
    );
    let first = |regex: &str| among_triples(&AssetWish::FirstMatch(regex.to_owned()));
    assert_eq!(first("musl").0, Some(TRIPLES[1]), "in the source's order");
    assert_eq!(first("sha256$").0, Some(TRIPLES[2]), "whatever it is");
    assert_eq!(first("nothing").0, None);
    assert_eq!(first("(").0, None);
    let go = ["tool_linux_arm64", "tool_linux_amd64"];
    let wish = AssetWish::Exact("tool_{os}_{arch}".to_owned());
    assert_eq!(choose(&go, ("a/b", "tool", "v1"), &wish, X86).0, Some("tool_linux_amd64"));
}

#[test]
fn refusals_name_the_candidates_and_what_to_write() {
    let names = ["second-linux-amd64", "first-linux-amd64", "checksums.txt"];
    let (_, selection) = choose(&names, ("example/suite", "suite", "v1"), &auto(None), X86);
    let Verdict::Refused(refusal) = selection.verdict else { panic!("chosen") };
    assert_eq!(
        refusal.to_string(),
        "choosing a file of release v1 for linux x86_64 gnu: `first-linux-amd64`, `second-linux-amd64` fit \
         equally; say which with `asset.contains` or an exact name"
    );
}

#[test]
fn names_that_differ_in_case_alone_are_not_chosen_from() {
    let plain = ["TOOL", "tool"];
    let spelled =
        ["TOOL-linux-amd64.tar.gz", "tool-linux-amd64.tar.gz", "tool-darwin-amd64.tar.gz"];
    for names in [plain.as_slice(), spelled.as_slice()] {
        let (_, selection) = choose(names, ("example/tool", "tool", "v1"), &auto(None), X86);
        let Verdict::Refused(refusal) = selection.verdict else { panic!("chosen of {names:?}") };
        let told = refusal.to_string();
        assert!(names[..2].iter().all(|name| told.contains(name)), "{told}");
        let exact = AssetWish::Exact(names[1].to_owned());
        let (chosen, _) = choose(names, ("example/tool", "tool", "v1"), &exact, X86);
        assert_eq!(chosen, Some(names[1]));
    }
}

proptest::proptest! {
    #[test]
    fn no_names_make_the_choice_panic(
        names in proptest::collection::vec(
            r"(tool|é|[-_. ]|linux|x86_64|v3|amd64|musl|64|1\.2\.3|\.gz|\.tar|\.1|sha256|\{|İ){0,9}", 0..6,
        ),
        tag in ".{1,9}",
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Ok(version) = "1.2.3".parse() {
            for wanted in [vec![], vec!["tool", "é", ""]] {
                let listing = Listing { names: names.clone(), wanted, tag: &tag, version: &version };
                let selection = select(&listing, &auto(None), &X86);
                let chosen = matches!(selection.verdict, Verdict::Chosen { .. });
                assert_eq!(selection.rejected.len() + usize::from(chosen), names.len());
            }
        }
    }
}
