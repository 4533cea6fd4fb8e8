//! The one integration-test binary: every test is a module of it.
#![allow(
    clippy::case_sensitive_file_extension_comparisons,
    clippy::format_push_string,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests fail by panicking and set up their own worlds"
)]
mod tidy;

mod documents;

mod archives;
mod afterwards;
mod asked;
#[cfg(target_arch = "x86_64")]
mod bombs;
mod archive_escapes;
mod archive_lies;
mod causes;
mod casync;
mod casync_interop;
mod desync_interop;
mod casync_tree;
mod publish_attacks;
#[cfg(target_arch = "x86_64")]
mod publish_signed;
#[cfg(target_arch = "x86_64")]
mod publish_deltas;
#[cfg(target_arch = "x86_64")]
mod publish_programs;
mod publish_tree;
mod publish_tree_interop;
mod elf;
mod delta;
mod delta_interop;
mod extension;
mod deliver;
mod deliver_interop;
mod images;
mod image_interop;
mod sysext;
mod places;
mod programs;
mod unpack;

mod booted;
mod support;

mod fetch;
mod self_update;
#[cfg(feature = "git")]
mod git;
#[cfg(feature = "git")]
mod git_hostile;
#[cfg(feature = "git")]
mod git_interop;
mod decided;
mod elsewhere;
mod inside;
mod selection;
mod signed;
mod sources;
mod assets;
mod schema;
mod unpack_interop;
mod glance;
mod health;
mod blind;
mod held;
mod health_kinds;
mod mishaps;
mod nested;
mod newcomer;
mod operator;
mod import;
mod import_any;
mod in_place;
#[cfg(target_arch = "x86_64")]
mod in_place_crash;
mod openpgp;
mod openpgp_interop;

#[cfg(target_arch = "x86_64")]
mod crash;
#[cfg(target_arch = "x86_64")]
mod faults;
#[cfg(target_arch = "x86_64")]
mod quiet;
mod interrupt;
mod record;
mod renamed_crash;
mod rollback_fails;
mod rounds;
mod scenarios;
mod tree;
mod tree_back;
#[cfg(target_arch = "x86_64")]
mod tree_in_place;
mod tree_attacks;
mod tree_interop;
mod tree_local;
#[cfg(target_arch = "x86_64")]
mod tree_power;
mod tree_hostile;
mod tree_signed;
mod tree_signed_interop;
mod tree_web;
#[cfg(target_arch = "x86_64")]
mod tree_crash;
mod tree_data;
mod cli;
mod drills;
mod controller;
mod converge;
mod counts;
mod strangers;
mod units;
mod watch;
mod wishes;
