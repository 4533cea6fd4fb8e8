//! Checking desired-state files without root and without network.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use camino::Utf8PathBuf;

use crate::cli::args::Format;
use crate::cli::exit::Exit;
use crate::cli::output::answers::{Validated, ValidationList};
use crate::cli::output::json::{document, render, verdict};
use crate::cli::session::Session;
use crate::cli::{CliError, say};
use crate::desired::DesiredState;
use crate::host::facts;
use crate::model::document::Document;
use crate::model::selection::Identity;

/// Reads everything and says what is wrong with it.
pub(super) async fn validate(session: &Session, paths: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    if paths.is_empty() && session.common.git.git.is_some() {
        let desired = session.desired().await?;
        say(&match session.common.output {
            Format::Json => document(verdict(&desired.roots, None, Ok(&desired))),
            _ => format!("{} is valid: {}.\n", desired.roots.join(", "), desired.counts()),
        });
        return Ok(Exit::Ok);
    }
    let paths = if paths.is_empty() { session.desired_paths()? } else { paths.to_vec() };
    let names = paths.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    let places: Vec<PathBuf> = paths.iter().map(Into::into).collect();
    let mut hosts: Vec<_> = DesiredState::hosts_below(&places).into_iter().map(Some).collect();
    if hosts.is_empty() {
        hosts.push(None);
    }
    let load = |hostname: Option<&String>| match hostname {
        None => DesiredState::load(&places),
        Some(hostname) => {
            let (hostname, labels) = (hostname.clone(), BTreeMap::new());
            let host = Identity { hostname, machine_id: None, labels, arch: facts::arch() };
            DesiredState::load_for(&places, &host)
        }
    };
    if session.common.output == Format::Json {
        let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
        let told = hosts.iter().map(Option::as_ref).map(|host| {
            let loaded = load(host);
            verdict(&names, host, loaded.as_ref().map_err(Vec::as_slice))
        });
        let mut items: Vec<Document<_>> = told.map(Document::from).collect();
        let valid = items.iter().all(|told| told.answer.valid);
        say(&render(&match items.pop() {
            Some(one) if items.is_empty() => Validated::Once(one),
            last => {
                items.extend(last);
                Validated::Each(ValidationList { valid, items }.into())
            }
        }));
        return Ok(if valid { Exit::Ok } else { Exit::Invalid });
    }
    let mut text = String::new();
    for host in &hosts {
        let desired = load(host.as_ref()).map_err(|errors| session.invalid(&errors))?;
        let of = host.as_ref().map_or_else(String::new, |host| format!(" for {host}"));
        let _ = writeln!(text, "{names} is valid{of}: {}.", desired.counts());
    }
    say(&text);
    Ok(Exit::Ok)
}
