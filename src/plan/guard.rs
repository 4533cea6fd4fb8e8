//! The guard against removing much at once: a wish can be wrong as a whole.

use crate::plan::Inputs;

/// More removals than this in one pass need a confirmation.
pub const REMOVALS_MAX: usize = 3;

/// More than one in so many managed resources needs one too, unless it is a single removal.
pub const REMOVALS_ONE_IN: usize = 4;

/// Whether many removals at once were confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removals {
    /// A few are done, many are reported.
    #[default]
    Guarded,
    /// The operator has seen them and wants them.
    Confirmed,
}

/// Refuses an empty wish and mass removal unless confirmed.
pub fn check(removals: Removals, count: usize, inputs: &Inputs<'_>) -> Result<(), String> {
    if count == 0 || removals == Removals::Confirmed {
        return Ok(());
    }
    let installed = inputs.ledger.inventory.resources.keys().filter(|id| {
        let found = inputs.observed.resources.get(*id);
        // What cannot be looked at may be there.
        found.is_some_and(|found| found.as_ref().map_or(true, |found| !found.slots().is_empty()))
    });
    let managed = installed.count();
    if inputs.desired.resources.is_empty() {
        return Err(format!(
            "the desired state is empty and would remove {}; if that is meant, `reconcile --confirm-removals` does it",
            if count == 1 {
                "the one managed resource".to_owned()
            } else {
                format!("all {count} managed resources")
            }
        ));
    }
    if count > REMOVALS_MAX || (count > 1 && count * REMOVALS_ONE_IN > managed) {
        return Err(format!(
            "{count} of {managed} managed resources would be removed at once; if that is meant, \
             `reconcile --confirm-removals` does it"
        ));
    }
    Ok(())
}
