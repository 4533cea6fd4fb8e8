//! Apps: release directories and a `bin` directory of links, as distronomicon lays them out.
//!
//! ```text
//! /opt/<app>/releases/<slot>/…          one installed release, with its manifest .reconcile.json
//! /opt/<app>/bin/<exe> -> ../releases/<slot>/<path>
//! /opt/<app>/staging/reconcile-…        half-done work; swept by the next pass
//! ```

mod drift;
mod explain;
mod health;
pub mod in_place;
pub mod layout;
mod left;
mod links;
pub mod observe;
pub mod plan;
pub mod remove;
pub mod retain;
pub mod spec;
mod stands;
pub mod wanted;

pub use left::as_laid_out;
pub use observe::AppObserved;
pub use spec::AppSpec;
