//! Lock step and vacuum, as measured with systemd 262 and where it is left open.

use proptest::prelude::*;

use super::State::{Complete, Partial, Pending};
use super::*;

/// One transfer: versions at the source, and in the target, where `1~` is partial and `1^` pending.
struct World {
    transfers: Vec<(Vec<String>, Vec<Installed>)>,
    min_version: Option<&'static str>,
    protected: Vec<String>,
}

fn world(transfers: &[(&str, &str)]) -> World {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let installed = |word: String| match (word.strip_suffix('~'), word.strip_suffix('^')) {
        (Some(version), _) => Installed { version: version.to_owned(), state: Partial },
        (_, Some(version)) => Installed { version: version.to_owned(), state: Pending },
        _ => Installed { version: word, state: Complete },
    };
    let read = |(a, i): &(&str, &str)| (words(a), words(i).into_iter().map(installed).collect());
    World { transfers: transfers.iter().map(read).collect(), min_version: None, protected: vec![] }
}

impl World {
    fn sets(&self) -> UpdateSets {
        let versions: Vec<_> = self
            .transfers
            .iter()
            .map(|(available, installed)| Versions {
                min_version: self.min_version,
                protected_versions: &self.protected,
                available,
                installed,
            })
            .collect();
        update_sets(&versions)
    }

    /// `version assessment` of every set, newest first, then the candidate.
    fn lines(&self) -> (Vec<String>, Option<String>) {
        let sets = self.sets();
        let lines = sets.all().iter().map(|s| format!("{} {}", s.version, s.flags.assessment()));
        (lines.collect(), sets.candidate().map(|s| s.version.clone()))
    }
}

#[track_caller]
fn check(world: &World, lines: &[&str], candidate: Option<&str>) {
    let (found, chosen) = world.lines();
    assert_eq!(found, lines);
    assert_eq!(chosen.as_deref(), candidate);
}

#[test]
fn transfers_go_in_lock_step() {
    let w = world(&[("1 2 3 5", "1 2"), ("5 3 1 4", "2 1"), ("1 3 4 5", "1 2")]);
    check(&w, &["5 candidate", "3 available", "2 current", "1 installed"], Some("5"));
    assert_eq!(w.sets().withheld(), ["4"], "4 is not everywhere, 2 is installed");
    let sets = w.sets();
    assert_eq!(sets.candidate().unwrap().sources, [Some(3), Some(0), Some(3)]);
    assert_eq!(sets.current().unwrap().targets, [Some(1), Some(0), Some(1)]);
    assert_eq!(sets.find("05").unwrap().version, "5");
    assert!(sets.find("4").is_none());
}

#[test]
fn nothing_newer_is_no_candidate() {
    check(&world(&[("1 2", "2 1")]), &["2 current", "1 installed"], None);
    check(&world(&[("1", "2")]), &["2 current", "1 candidate"], None);
    check(&world(&[("", "")]), &[], None);
    check(&world(&[]), &[], None);
}

#[test]
fn incomplete_versions_count_as_installed_and_are_repaired() {
    let w = world(&[("1 2", "1 2"), ("1 2", "1")]);
    check(&w, &["2 current+incomplete", "1 installed"], Some("2"));
    let w = world(&[("1 2 3", "1 2"), ("1 2 3", "1")]);
    check(&w, &["3 candidate", "2 current+incomplete", "1 installed"], Some("3"));
    let w = world(&[("1", "2 1"), ("1", "1")]);
    check(&w, &["2 current+incomplete", "1 installed"], None);
    let w = world(&[("1", "2"), ("1", "")]);
    check(&w, &["2 current+incomplete", "1 candidate"], Some("1"));
}

#[test]
fn unfinished_versions_are_their_own_candidate() {
    check(&world(&[("1 2", "1 2^")]), &["2 current+pending", "1 installed"], Some("2"));
    check(&world(&[("1", "1 2~")]), &["2 current+partial", "1 installed"], Some("2"));
    check(&world(&[("3", "2^")]), &["3 candidate", "2 current+pending"], Some("3"));
    let w = world(&[("", "2^"), ("", "2~"), ("", "")]);
    check(&w, &["2 current+partial"], Some("2"));
    check(&world(&[("", "3 2~")]), &["3 current", "2 installed+partial"], None);
}

#[test]
fn obsolete_and_protected_versions_say_so() {
    let mut w = world(&[("1 2 3", "1 2 3"), ("1 2 3", "1 2 3")]);
    w.min_version = Some("3");
    w.protected = vec!["1".to_owned()];
    check(&w, &["3 current", "2 installed+obsolete", "1 protected+obsolete"], None);
    let mut w = world(&[("1 2", "1")]);
    w.min_version = Some("3");
    check(&w, &["2 available+obsolete", "1 current+obsolete"], None);
    let mut w = world(&[("1 2", "2 1"), ("1 2", "2")]);
    w.protected = vec!["1".to_owned()];
    check(&w, &["2 current", "1 protected+incomplete"], None);
    assert_eq!(w.sets().all()[1].flags.glyph(), "○");
}

#[test]
fn equal_versions_are_chosen_between_by_rule() {
    let w = world(&[("1.00 1.0 1.000", "1.0"), ("1.00", "1.00 1.0")]);
    let sets = w.sets();
    let [set] = sets.all() else { panic!("one set: {:?}", sets.all()) };
    assert_eq!(
        (set.version.as_str(), &*set.other_spellings),
        ("1.0", &["1.00", "1.000"].map(String::from)[..])
    );
    assert_eq!(set.sources, [Some(1), Some(0)]);
    assert_eq!(set.targets, [Some(0), Some(1)]);
    let w = world(&[("", "1_b~ 1+b")]);
    assert_eq!(w.sets().all()[0].targets, [Some(0)], "the name decides before the state");
    let w = world(&[("", "2~ 2")]);
    assert_eq!(w.sets().all()[0].targets, [Some(1)], "the whole one of two of one name");
}

#[test]
fn marks_show_the_flags() {
    assert_eq!(Flags::default().assessment(), "n/a");
    let w = world(&[("1 2 3", "1 2^")]);
    let glyphs: Vec<_> = w.sets().all().iter().map(|s| s.flags.glyph()).collect();
    assert_eq!(glyphs, ["↻", "⤵️", " "]);
}

fn removed(installed: &str, keep: Keep, protected: &[&str], installing: Option<&str>) -> String {
    let world = world(&[("", installed)]);
    let protected: Vec<String> = protected.iter().map(|p| (*p).to_owned()).collect();
    let instances = &world.transfers[0].1;
    let rule = VacuumRule { keep, protected_versions: &protected, installing };
    let removed = vacuum(instances, &rule).unwrap();
    removed.iter().map(|i| instances[*i].version.clone()).collect::<Vec<_>>().join(" ")
}

fn limit(instances_max: u64, space: u64) -> Keep {
    Keep::Limit { instances_max: Some(instances_max), space }
}

#[test]
fn vacuum_keeps_the_newest_and_the_protected() {
    assert_eq!(removed("1 2 3 4 5", limit(2, 0), &[], None), "1 2 3");
    assert_eq!(removed("1 2 3 4 5", limit(3, 0), &[], None), "1 2");
    assert_eq!(removed("5 4 3 2 1", limit(2, 0), &["1"], None), "2 3 4");
    assert_eq!(removed("1 2 3", limit(2, 1), &[], None), "1 2");
    assert_eq!(removed("1 2 3", limit(2, 0), &["1", "2", "3"], None), "");
    assert_eq!(removed("1 2 3", limit(2, 1), &[], Some("1")), "2 3");
    assert_eq!(removed("1 2 3 4", Keep::Limit { instances_max: None, space: 1 }, &[], None), "");
    assert_eq!(removed("1 2 3", Keep::Nothing, &["2"], None), "1 3");
}

#[test]
fn vacuum_removes_what_is_unfinished() {
    assert_eq!(removed("1 2~ 3^", limit(3, 0), &[], None), "2 3");
    assert_eq!(removed("1 2~ 3^", limit(3, 0), &["2", "3"], None), "2");
    assert_eq!(removed("1 2 3^", limit(2, 0), &[], Some("3")), "1");
}

#[test]
fn vacuum_never_empties_an_enabled_transfer() {
    let rule = VacuumRule { keep: limit(2, 2), protected_versions: &[], installing: None };
    assert_eq!(vacuum(&[], &rule), Err(NoRoom { instances_max: 2, space: 2 }));
}

#[test]
fn many_versions_are_put_together() {
    let versions: Vec<String> = (0..20_000).map(|i| format!("1.{i}.0")).collect();
    let transfer = Versions { available: &versions, ..Versions::default() };
    let sets = update_sets(&[transfer; 7]);
    assert_eq!(sets.all().len(), 20_000);
    assert_eq!(sets.candidate().unwrap().version, "1.19999.0");
}

proptest! {
    #[test]
    fn a_candidate_can_be_installed_and_brings_something(
        transfers in proptest::collection::vec(
            ("([0-4](\\.0)? ){0,4}", "([0-4](\\.0)?[~^]? ){0,4}"), 0..4),
        min in proptest::option::of(Just("2")),
    ) {
        let pairs: Vec<(&str, &str)> =
            transfers.iter().map(|(a, i)| (a.as_str(), i.as_str())).collect();
        let mut w = world(&pairs);
        w.min_version = min;
        let sets = w.sets();
        for pair in sets.all().windows(2) {
            prop_assert!(order::compare(&pair[0].version, &pair[1].version).is_gt());
        }
        if let Some(set) = sets.candidate() {
            let flags = set.flags;
            let under_way = flags.has(Flag::Partial) || flags.has(Flag::Pending);
            prop_assert!(under_way || flags.has(Flag::Available));
            prop_assert!(under_way || set.sources.iter().all(Option::is_some));
            prop_assert!(!flags.has(Flag::Obsolete) || under_way);
            prop_assert!(under_way || flags.has(Flag::Incomplete) || !flags.has(Flag::Installed));
        }
        for set in sets.all() {
            prop_assert!(!(flags_contradict(set.flags)), "{set:?}");
        }
    }
}

fn flags_contradict(flags: Flags) -> bool {
    let under_way = flags.has(Flag::Partial) || flags.has(Flag::Pending);
    flags.has(Flag::Incomplete) && (under_way || !flags.has(Flag::Installed))
}
