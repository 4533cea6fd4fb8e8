//! What happened and what must be remembered: ledger and history.

pub mod history;
pub mod ledger;
