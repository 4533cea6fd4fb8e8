//! Formats of systemd-sysupdate: definitions, patterns, manifests, update sets, documents.
//!
//! Sources: sysupdate.d(5), sysupdate.features(5), systemd-sysupdate(8), and the behaviour of
//! systemd 262.1. Texts and facts go in; values and warnings come out. In the order of use:
//! [`search`] says which files define what, [`ini`] and [`specifier`] read them into the values of
//! [`definition`]; [`pattern`] recognises files and [`manifest`] reads what a server offers;
//! [`order`] compares versions; [`sets`] puts the versions of several transfers together;
//! [`document`] writes what systemd-sysupdate prints.
//!
//! Differences on purpose:
//! - versions that compare equal but are written differently are chosen between by rule, not by
//!   chance ([`sets`]);
//! - a manifest with a line that systemd refuses is read with a warning, and says what systemd would
//!   say ([`manifest`]);
//! - `%` and an unknown letter in a definition is an error ([`specifier`]);
//! - numbers in names are decimal, without sign, blanks or base prefix ([`pattern`]);
//! - an empty `Verify=` brings the default back, as for every other switch; 262 ignores it
//!   ([`definition`]);
//! - `InstancesMax=` is also read in `[Transfer]`, where updex wants it ([`definition`]);
//! - what concerns boot loaders and partitions is read, and marked as not ours ([`definition`]).

pub mod definition;
pub mod document;
pub mod ini;
pub mod installed;
pub mod order;
pub mod manifest;
pub mod pattern;
pub mod search;
pub mod sets;
pub mod specifier;
pub mod suggest;
