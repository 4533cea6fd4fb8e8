//! The architecture as a test: who may use whom, how long a file may be, which words are banned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of code a file may have, blank lines and comments not counted.
const FILE_LINES_MAX: usize = 400;

fn files(below: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut pending = vec![root.join(below)];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let path: PathBuf = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Who may use whom: the rows of the table in `ARCHITECTURE.md`, `| module | what | may use |`.
fn may_use() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut table = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [module, _, uses] = cells[..] else { continue };
        let uses: Vec<String> = if uses == "everything above" {
            table.keys().cloned().collect()
        } else {
            let mut what_for = false;
            let names = uses.chars().filter(|c| {
                what_for = *c == '(' || (what_for && *c != ')');
                !what_for && *c != ')'
            });
            let names: String = names.collect();
            let names = names.split(',').map(|name| name.trim().to_owned());
            names.filter(|name| name != "–").collect()
        };
        table.insert(module.trim_matches('`').to_owned(), uses);
    }
    table
}

/// The top-level module of `src/plan/mod.rs` is `plan`.
fn module_of(path: &str) -> String {
    let inside = path.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

#[track_caller]
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn modules_use_only_what_they_may() {
    let table = may_use();
    assert!(table.len() > 20, "the table of ARCHITECTURE.md is not read: {table:?}");
    let mut violations = Vec::new();
    for (path, text) in files("src") {
        let module = module_of(&path);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some(allowed) = table.get(&module) else {
            violations
                .push(format!("{path}: `{module}` has no row in the table of ARCHITECTURE.md"));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != module && table.contains_key(&used) && !allowed.contains(&used) {
                    violations
                        .push(format!("{path}:{}: `{module}` may not use `{used}`", number + 1));
                }
            }
        }
    }
    none(&violations);
}

#[test]
fn planning_is_pure() {
    let impure = ["async ", "crate::host", "crate::fetch", "tokio::", "std::fs", "now()", "rand::"];
    let mut violations = Vec::new();
    for (path, text) in files("src") {
        let pure = path.starts_with("src/plan/")
            || path.starts_with("src/model/")
            || path.starts_with("src/format/")
            || (path.starts_with("src/resource/")
                && !path.ends_with("observe.rs")
                && !path.contains("/observe/"));
        if !pure {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            for word in impure.iter().filter(|word| !comment && line.contains(**word)) {
                violations.push(format!("{path}:{}: `{word}` in a pure module", number + 1));
            }
        }
    }
    none(&violations);
}

#[test]
fn a_dry_run_is_the_absence_of_a_call() {
    let mut violations = Vec::new();
    for (path, text) in files("src") {
        if path.starts_with("src/cli/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.contains("dry_run") || line.contains("DryRun") {
                violations.push(format!("{path}:{}: the word belongs to `cli`", number + 1));
            }
        }
    }
    none(&violations);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut violations = Vec::new();
    for (path, text) in files("src").into_iter().chain(files("tests")).chain(files("benches")) {
        let code = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
            .count();
        let limit = if path.starts_with("src/") { FILE_LINES_MAX } else { 2 * FILE_LINES_MAX };
        if code > limit {
            violations.push(format!("{path}: {code} lines of code, at most {limit}"));
        }
        let first = text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || first.len() > 104 {
            violations.push(format!("{path}: begins with `//!` and what it is, on one line"));
        }
    }
    none(&violations);
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "HACK"];
    let mut violations = Vec::new();
    for (path, text) in files("src").into_iter().chain(files("tests")).chain(files("benches")) {
        if path == "tests/it/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                violations.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    none(&violations);
}

#[test]
fn every_test_file_is_a_module_of_the_one_binary() {
    let main =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/main.rs"));
    let main = main.unwrap();
    let mut violations = Vec::new();
    for (path, _) in files("tests/it") {
        let inside = path.strip_prefix("tests/it/").unwrap();
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if module != "main" && !main.contains(&format!("mod {module};")) {
            violations.push(format!("{path}: not a module of tests/it/main.rs"));
        }
    }
    none(&violations);
}
