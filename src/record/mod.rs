//! What happened and what must be remembered: ledger and history.

mod accepted;
mod basis;
pub mod cache;
pub mod commit;
pub mod history;
pub mod last_pass;
pub mod last_wish;
pub mod ledger;
mod recognised;
mod taken;
mod taken_over;
