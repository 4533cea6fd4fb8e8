//! What comes while a pass is made is not missed for the length of that pass.

use jiff::SignedDuration;
use reconcile::controller::fight::FightRule;
use reconcile::controller::queue::Trigger;
use reconcile::model::outcome::End;
use reconcile::model::{Action, BlockedReason, Digest};

use super::machine::{Clocked, Result, only, policy};

#[test]
fn window_that_opens_while_a_pass_is_made_is_a_pass_right_after_it() {
    for reason in [BlockedReason::Deferred, BlockedReason::Suspended, BlockedReason::TooYoung] {
        let mut clocked = Clocked::new(policy());
        clocked.expect_pass(&[Trigger::Start]);
        let opens = clocked.now + SignedDuration::from_secs(30);
        clocked.later(60);
        clocked.ends(&Result::default().blocked("a", reason, Some(opens)));
        clocked.expect_pass(&[Trigger::Until]);
        // What is still blocked then, whatever was said of it, is no reason to go round and round.
        clocked.ends(&Result::default().blocked("a", reason, Some(opens)));
        clocked.expect_wait();
    }
}

#[test]
fn slot_of_a_resource_that_comes_while_a_pass_is_made_is_a_pass_right_after_it() {
    let mut clocked = Clocked::new(policy());
    clocked.every = [("app/a".parse().unwrap(), SignedDuration::from_secs(20))].into();
    clocked.expect_pass(&[Trigger::Start]);
    clocked.later(40);
    clocked.ends(&Result::default());
    assert_eq!(clocked.expect_pass(&[Trigger::Every]).scope, only(&["a"]));
}

#[test]
fn change_that_its_window_closed_on_is_planned_again_to_learn_when_that_opens() {
    let mut clocked = Clocked::new(policy());
    clocked.expect_pass(&[Trigger::Start]);
    clocked.ends(&Result::default().change("a", Action::Upgrade, End::Deferred));
    clocked.wait();
    clocked.expect_pass(&[Trigger::Retry]);
    let opens = clocked.now + SignedDuration::from_secs(30);
    clocked.ends(&Result::default().blocked("a", BlockedReason::Deferred, Some(opens)));
    assert_eq!(clocked.expect_wait(), opens);
}

#[test]
fn edit_of_another_resource_does_not_end_a_fight() {
    let mut clocked = Clocked::settled(policy());
    let (a, one, other) = ("app/a", Digest::of_json(&1), Digest::of_json(&2));
    clocked.wishes = [(a.parse().unwrap(), one.clone())].into();
    let repaired = Result::default().change("a", Action::Repair, End::Done);
    let correct = |clocked: &mut Clocked| {
        clocked.wait();
        clocked.expect_pass(&[Trigger::Schedule]);
        clocked.ends(&repaired);
    };
    for time in 1..=FightRule::default().times {
        assert!(clocked.controller.holds(clocked.now).fights.is_empty(), "before {time}");
        correct(&mut clocked);
        // Somebody edits the desired state, each time.
        clocked.edit(&time.to_string());
        clocked.expect_pass(&[Trigger::Desired]);
        clocked.ends(&Result::default());
    }
    let fights = clocked.controller.holds(clocked.now).fights;
    assert_eq!(fights.values().map(|fight| fight.wish.clone()).collect::<Vec<_>>(), [Some(one)]);
    // Another wish of that resource is counted anew.
    clocked.wishes = [(a.parse().unwrap(), other)].into();
    correct(&mut clocked);
    assert!(clocked.controller.holds(clocked.now).fights.is_empty());
}
