//! When the loop removes what is not wished any more.

use jiff::SignedDuration;
use reconcile::controller::machine::Event;
use reconcile::controller::queue::{Scope, Trigger};
use reconcile::model::outcome::{End, Outcome};
use reconcile::model::{Action, BlockedReason};
use reconcile::plan::hold::{UNWISHED_FOR, hold};

use super::machine::{Clocked, Result, only, policy};

/// What becomes of the removal of a resource in a pass that is made at this moment: whether it is done.
fn removes(clocked: &mut Clocked) -> bool {
    let mut result = Result::default().change("a", Action::Remove, End::Done);
    result.plan = hold(result.plan, &clocked.controller.holds(clocked.now));
    let removes = !result.plan.changes.is_empty();
    if !removes {
        result.outcome = Outcome::default();
        assert_eq!(result.plan.blocked[0].reason, BlockedReason::Deferred);
    }
    clocked.ends(&result);
    removes
}

#[test]
fn resource_is_removed_once_it_was_missing_for_a_while_and_not_before() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let missing_since = clocked.now;
    assert!(!removes(&mut clocked));
    // Whatever asks for a pass meanwhile, a person too.
    clocked.later(4);
    clocked.request(Scope::All);
    clocked.expect_pass(&[Trigger::Request]);
    assert!(!removes(&mut clocked));
    clocked.request(only(&["b"]));
    clocked.expect_pass(&[Trigger::Request]);
    clocked.ends(&Result::default());
    assert_eq!(clocked.expect_wait(), missing_since + UNWISHED_FOR);
    clocked.wait();
    assert_eq!(clocked.expect_pass(&[Trigger::Until]).scope, Scope::All);
    assert!(removes(&mut clocked));
}

#[test]
fn resource_that_came_back_meanwhile_is_missing_anew() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    assert!(!removes(&mut clocked));
    clocked.later(8);
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    clocked.ends(&Result::default());
    clocked.later(8);
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    assert!(!removes(&mut clocked));
}

#[test]
fn clock_that_was_set_back_keeps_nothing_for_longer() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    assert!(!removes(&mut clocked));
    clocked.now -= SignedDuration::from_hours(24);
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    let back = clocked.now;
    assert!(!removes(&mut clocked));
    assert_eq!(clocked.expect_wait(), back + UNWISHED_FOR);
    clocked.wait();
    clocked.expect_pass(&[Trigger::Until]);
    assert!(removes(&mut clocked));
}

#[test]
fn resource_that_goes_by_a_word_of_the_wish_is_removed_at_once() {
    let mut clocked = Clocked::settled(policy());
    clocked.hear(Event::Signal);
    clocked.expect_pass(&[Trigger::Signal]);
    // As an extension does whose feature was switched off.
    let mut result = Result::default().change("a", Action::Remove, End::Done);
    result.plan.changes[0].declared_at = Some("/etc/reconcile/desired-state/a.yaml:1".to_owned());
    let held = hold(result.plan, &clocked.controller.holds(clocked.now));
    assert_eq!((held.changes.len(), held.blocked.len()), (1, 0));
}
