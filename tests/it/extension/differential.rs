//! What systemd-sysupdate 262 answered about generated situations, and what is answered here.
//!
//! `tests/golden/sysupdate/cases.jsonl` holds situations and answers; the README beside it says how they were made
//! and lists what differs on purpose. Everything else must be equal: versions chosen, JSON, exit codes, the files
//! and links after a vacuum and after an update.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::world::World;

/// What was recorded.
const CASES: &str = include_str!("../../golden/sysupdate/cases.jsonl");

/// Where something else is answered on purpose.
const DIFFERENCES: &str = include_str!("../../golden/sysupdate/differences.txt");

/// Cases at the least: fewer were a mistake in recording.
const CASES_MIN: usize = 100;

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

fn bytes(name: &str) -> String {
    format!("bytes of {name}\n")
}

/// The host that a case describes.
fn build(case: &Value) -> World {
    let mut world = World::new();
    world.wish("desired", "sysupdate: { as: sysupdate }\n");
    let definitions = world.path("usr/lib/sysupdate.d");
    fs::create_dir_all(&definitions).unwrap();
    for transfer in case["transfers"].as_array().unwrap() {
        let id = transfer["id"].as_str().unwrap();
        let web = transfer["kind"] == "url-file";
        let source =
            if web { world.temp().join("source").join(id) } else { world.path("srv").join(id) };
        let target = world.path("var/lib").join(id);
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&target).unwrap();
        let mut sums = Vec::new();
        for name in transfer["offered"].as_object().unwrap().values() {
            let name = name.as_str().unwrap();
            instance(transfer, &source.join(name), name);
            if let Some(mode) =
                transfer["offered_mode"].as_u64().filter(|_| !is_directory(transfer))
            {
                let mode = u32::try_from(mode).unwrap();
                fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
            }
            sums.push(format!("{}  {name}\n", HEXLOWER.encode(&Sha256::digest(bytes(name)))));
        }
        sums.sort();
        if web {
            fs::write(source.join("SHA256SUMS"), sums.concat()).unwrap();
        }
        for name in transfer["installed"].as_object().unwrap().values() {
            let name = name.as_str().unwrap();
            instance(transfer, &target.join(name), name);
        }
        if let Some(linked) = transfer["linked"].as_str() {
            symlink(linked, target.join(transfer["link"].as_str().unwrap())).unwrap();
        }
        let text = definition(transfer, &source);
        fs::write(definitions.join(format!("{id}.transfer")), text).unwrap();
    }
    for (name, on) in case["features"].as_object().unwrap() {
        let text = format!("[Feature]\nEnabled={on}\n");
        fs::write(definitions.join(format!("{name}.feature")), text).unwrap();
    }
    world
}

fn is_directory(transfer: &Value) -> bool {
    transfer["kind"] == "directory"
}

/// A file, or a directory with one in it, that holds its name.
fn instance(transfer: &Value, place: &Path, name: &str) {
    if is_directory(transfer) {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join("text"), bytes(name)).unwrap();
    } else {
        fs::write(place, bytes(name)).unwrap();
    }
}

/// As `record.py` writes it.
fn definition(transfer: &Value, source: &Path) -> String {
    let id = transfer["id"].as_str().unwrap();
    let mut text = "[Transfer]\nVerify=no\n".to_owned();
    for (key, value) in [("min", "MinVersion"), ("feature", "Features")] {
        if let Some(set) = transfer[key].as_str() {
            text.push_str(&format!("{value}={set}\n"));
        }
    }
    for version in texts(&transfer["protect"]) {
        text.push_str(&format!("ProtectVersion={version}\n"));
    }
    let kind = transfer["kind"].as_str().unwrap();
    let path = if kind == "url-file" {
        format!("file://{}", source.display())
    } else {
        format!("/srv/{id}")
    };
    let made = if is_directory(transfer) { "directory" } else { "regular-file" };
    let (from, to) = (texts(&transfer["patterns"]).join(" "), texts(&transfer["target"]).join(" "));
    text.push_str(&format!(
        "[Source]\nType={kind}\nPath={path}\nMatchPattern={from}\n\
         [Target]\nType={made}\nPath=/var/lib/{id}\nMatchPattern={to}\n"
    ));
    if let Some(max) = transfer["max"].as_u64() {
        text.push_str(&format!("InstancesMax={max}\n"));
    }
    if let Some(link) = transfer["link"].as_str() {
        text.push_str(&format!("CurrentSymlink={link}\n"));
    }
    for (key, value) in [("mode", "Mode"), ("ro", "ReadOnly")] {
        if let Some(set) = transfer[key].as_str() {
            text.push_str(&format!("{value}={set}\n"));
        }
    }
    if let Some(tries) = transfer["tries"].as_u64() {
        text.push_str(&format!("TriesLeft={tries}\n"));
    }
    text
}

/// The files and links of every transfer, without what is ours alone.
fn after(case: &Value, world: &World) -> Value {
    let mut found = BTreeMap::new();
    for transfer in case["transfers"].as_array().unwrap() {
        let id = transfer["id"].as_str().unwrap();
        let directory = world.path("var/lib").join(id);
        let mut files = Vec::new();
        let mut link = None;
        let mut modes = BTreeMap::new();
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_symlink() {
                link = Some(fs::read_link(entry.path()).unwrap().display().to_string());
            } else if !name.ends_with(".reconcile.json") {
                let metadata = entry.metadata().unwrap();
                if metadata.is_file() {
                    let mode = metadata.permissions().mode() & 0o7777;
                    modes.insert(name.clone(), format!("0o{mode:o}"));
                }
                files.push(name);
            }
        }
        files.sort();
        let mut after = json!({ "files": files, "link": link });
        if case["wide"] == true {
            after["modes"] = json!(modes);
        }
        found.insert(id.to_owned(), after);
    }
    json!(found)
}

/// Answers as they were recorded: the exit code, and the document if there is one.
fn ask(world: &World, arguments: &[&str]) -> Value {
    let mut all = vec!["sysupdate", "--json"];
    all.extend(arguments);
    let ran = world.run(&all);
    let out = serde_json::from_str::<Value>(ran.stdout.trim()).ok();
    json!({ "exit": ran.code, "out": out })
}

/// What is asked in one situation: what was recorded, and what is said here.
fn questions(case: &Value) -> Vec<(&'static str, Value, Value)> {
    let world = build(case);
    let mut asked = vec![
        ("list", case["list"].clone(), ask(&world, &["list"])),
        ("check-new", case["check-new"].clone(), ask(&world, &["check-new"])),
    ];
    if let Some(version) = case["detail"]["out"]["version"].as_str() {
        let mut ours = ask(&world, &["list", version]);
        if let Some(out) = ours["out"].as_object_mut() {
            out.remove("contents");
        }
        asked.push(("detail", case["detail"].clone(), ours));
    }
    let mut ours = ask(&world, &["vacuum"]);
    ours["after"] = after(case, &world);
    asked.push(("vacuum", case["vacuum"].clone(), ours));
    let world = build(case);
    let mut ours = ask(&world, &["update"]);
    ours["after"] = after(case, &world);
    let mut recorded = case["update"].clone();
    if recorded["out"].is_null() && recorded["exit"] == 0 {
        // Without news a pass tidies as well: the host is then as a vacuum leaves it.
        recorded["after"] = case["vacuum"]["after"].clone();
    } else {
        ours["list"] = ask(&world, &["list"]);
    }
    let fields = recorded.as_object_mut().unwrap();
    fields.remove("said");
    fields.retain(|key, _| ours.get(key).is_some());
    asked.push(("update", recorded, ours));
    asked
}

/// Situations in which something else is answered on purpose: seed, question, and a letter that the README
/// explains.
fn differences() -> BTreeSet<(u64, &'static str)> {
    let lines = DIFFERENCES.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.map(|words| (words[0].parse().unwrap(), words[1])).collect()
}

#[test]
fn answers_are_those_of_systemd_sysupdate_but_where_they_differ_on_purpose() {
    let cases: Vec<Value> = CASES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let (mut report, mut differ) = (String::new(), BTreeSet::new());
    let mut count = 0;
    for case in &cases {
        for (what, recorded, ours) in questions(case) {
            count += 1;
            if recorded == ours {
                continue;
            }
            let seed = case["seed"].as_u64().unwrap();
            differ.insert((seed, what));
            if !differences().contains(&(seed, what)) {
                report
                    .push_str(&format!("{seed} {what}\n  systemd {recorded}\n  here    {ours}\n"));
            }
        }
    }
    println!("{count} answers to {} situations, {} differ", cases.len(), differ.len());
    assert!(report.is_empty(), "{report}");
    let gone: Vec<_> = differences().difference(&differ).copied().collect();
    assert!(gone.is_empty(), "these do not differ any more: {gone:?}");
}
