//! Import of distronomicon's units.

use crate::support::wish::apps;

use std::path::PathBuf;

use reconcile::desired::import::distronomicon::{import, load};
use reconcile::desired::import::{ConfigFile, Imported, NoteKind};
use reconcile::desired::{CredentialRef, DesiredState, Paint, SourceText, render};
use reconcile::model::step::{Binaries, Strip};
use reconcile::model::{Level, Prereleases};
use reconcile::resource::app::spec::{AppSpec, AssetWish, Order};
use reconcile::source::spec::Origin;
use reconcile::trust::policy::Checksums;

const SYSTEM: &str = "/etc/systemd/system";

/// The template as distronomicon ships it.
const TEMPLATE: &str = "[Service]\nType=oneshot\nExecStart=/usr/local/bin/distronomicon --app %i update\n\
                        Restart=on-failure\nStateDirectory=distronomicon\nReadWritePaths=/opt\n";
const TIMER: &str = "[Timer]\nOnBootSec=3m\nOnUnitActiveSec=3m\nPersistent=true\n";

fn file(path: &str, text: &str) -> ConfigFile {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{SYSTEM}/{path}") };
    ConfigFile { path, text: text.to_owned() }
}

/// The shipped template and timer with drop-ins of their own for `myapp`.
fn with_drop_ins(drop_ins: &[(&str, &str)]) -> Vec<ConfigFile> {
    let mut files = vec![
        file("/usr/lib/systemd/system/distronomicon@.service", TEMPLATE),
        file("/usr/lib/systemd/system/distronomicon@.timer", TIMER),
        file("timers.target.wants/distronomicon@myapp.timer", TIMER),
    ];
    files.extend(drop_ins.iter().map(|(name, text)| {
        file(&format!("distronomicon@myapp.service.d/{name}"), &format!("[Service]\n{text}"))
    }));
    files
}

fn state(imported: &Imported) -> DesiredState {
    let source = SourceText {
        root: "/d".into(),
        file: "imported.yaml".into(),
        directory: "/d".into(),
        text: imported.document.clone(),
    };
    DesiredState::from_texts(vec![source])
        .unwrap_or_else(|errors| panic!("{}\n{}", imported.document, render(&errors, Paint::Plain)))
}

fn app(imported: &Imported) -> AppSpec {
    apps(&state(imported)).into_values().next().expect("one app")
}

fn said(imported: &Imported, kind: NoteKind) -> String {
    let notes = imported.notes.iter().filter(|note| note.kind == kind);
    notes.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const USUAL: &str = "Environment=DISTRONOMICON_REPO=owner/myapp\n\
    Environment=\"DISTRONOMICON_PATTERN=myapp-.*linux\\\\.tar\\\\.gz\"\n\
    Environment=DISTRONOMICON_CHECKSUM_PATTERN=SHA256SUMS\n";

#[test]
fn usual_installation_keeps_its_meaning() {
    let imported = import(&with_drop_ins(&[("10-app.conf", USUAL)]));
    let spec = app(&imported);
    assert_eq!(spec.asset, AssetWish::FirstMatch(r"myapp-.*linux\.tar\.gz".into()));
    assert_eq!(spec.verify.min, Some(Level::Checksum));
    assert_eq!(spec.verify.checksums, Checksums::Matching("SHA256SUMS".into()));
    assert_eq!((spec.strip, spec.binaries), (Strip::None, Binaries::AnyExecutable));
    assert_eq!(spec.home, "/opt/myapp");
    assert_eq!(spec.retain, 3);
    assert_eq!(spec.version.prereleases, Prereleases::Refused);
    let Origin::Github { repo, .. } = spec.source.origin else { panic!("from GitHub") };
    assert_eq!(repo, "owner/myapp");
    assert!(
        said(&imported, NoteKind::Todo)
            .contains("systemctl disable --now distronomicon@myapp.timer")
    );
    assert!(said(&imported, NoteKind::Changed).contains("allow_downgrade"));
    let info = said(&imported, NoteKind::Info);
    assert!(info.contains("OnUnitActiveSec=3m") && info.contains("OnBootSec=3m"), "{info}");
    assert_eq!(said(&imported, NoteKind::Ignored), "");
    assert_eq!(said(&imported, NoteKind::Unmapped), "");
}

#[test]
fn invalid_drop_in_of_the_readme_is_reported_with_the_corrected_line() {
    let imported = import(&with_drop_ins(&[(
        "override.conf",
        "Environment=\"DISTRONOMICON_REPO=owner/myapp\"\n\
         Environment=\"DISTRONOMICON_PATTERN=myapp-.*\\.tar\\.gz\"\n",
    )]));
    let ignored = said(&imported, NoteKind::Ignored);
    assert!(ignored.contains(r"`\.` is not an escape sequence"), "{ignored}");
    assert!(
        ignored.contains(r#"`Environment="DISTRONOMICON_PATTERN=myapp-.*\\.tar\\.gz"`"#),
        "{ignored}"
    );
    assert!(ignored.contains("override.conf:3"), "{ignored}");
    let changed = said(&imported, NoteKind::Changed);
    assert!(changed.contains("no pattern reached") && changed.contains("no checksum pattern"));
    assert!(matches!(app(&imported).asset, AssetWish::Auto(_)));
}

#[test]
fn drop_ins_apply_in_the_order_of_their_names_and_shadow_each_other() {
    let mut files = with_drop_ins(&[
        ("20-late.conf", "Environment=DISTRONOMICON_RETAIN=7\n"),
        ("10-app.conf", &format!("{USUAL}Environment=DISTRONOMICON_RETAIN=5\n")),
        ("30-shadow.conf", "Environment=DISTRONOMICON_INSTALL_ROOT=/srv\n"),
    ]);
    files.push(file(
        "distronomicon@.service.d/15-all.conf",
        "[Service]\nEnvironment=DISTRONOMICON_RETAIN=6 DISTRONOMICON_ALLOW_PRERELEASE=true\n",
    ));
    files.push(file(
        "distronomicon@.service.d/30-shadow.conf",
        "[Service]\nEnvironment=DISTRONOMICON_INSTALL_ROOT=/nowhere\n",
    ));
    files.push(file(
        "/usr/lib/systemd/system/distronomicon@myapp.service.d/20-late.conf",
        "[Service]\nEnvironment=DISTRONOMICON_RETAIN=99\n",
    ));
    let spec = app(&import(&files));
    assert_eq!(spec.retain, 7);
    assert_eq!(spec.home, "/srv/myapp");
    assert_eq!(spec.version.prereleases, Prereleases::Wanted);
    assert_eq!(spec.version.order, Order::Published);
}

#[test]
fn flags_win_over_the_environment() {
    let imported = import(&with_drop_ins(&[(
        "10.conf",
        &format!(
            "{USUAL}ExecStart=\nExecStart=/usr/local/bin/distronomicon --app=%i -v --http-timeout 60 update \
             --repo other/%i --retain 1 --skip-verification --allow-prerelease --install-root ${{ROOT}}/x\n\
             Environment=ROOT=/data\n"
        ),
    )]));
    let spec = app(&imported);
    let Origin::Github { repo, .. } = spec.source.origin else { panic!("from GitHub") };
    assert_eq!(repo, "other/myapp");
    assert_eq!(spec.retain, 2);
    assert_eq!((spec.verify.min, spec.verify.checksums), (Some(Level::None), Checksums::None));
    assert_eq!(spec.version.order, Order::Published);
    assert_eq!(spec.home, "/data/x/myapp");
    let changed = said(&imported, NoteKind::Changed);
    assert!(
        changed.contains("`retain` was 1") && changed.contains("verification was off"),
        "{changed}"
    );
    let unmapped = said(&imported, NoteKind::Unmapped);
    assert!(unmapped.contains("--http-timeout 60") && unmapped.contains("`ROOT`"), "{unmapped}");
}

#[test]
fn token_is_referred_to_and_never_copied() {
    let secret = "ghp_0123456789abcdef";
    let imported = import(&with_drop_ins(&[(
        "10.conf",
        &format!(
            "{USUAL}Environment=GITHUB_TOKEN={secret} GITHUB_HOST=https://ghe.example.net:8443/api/v3/\n"
        ),
    )]));
    assert!(!imported.document.contains(secret));
    assert!(imported.notes.iter().all(|note| !note.to_string().contains(secret)));
    // What the agent's units load, and what is read without them, too.
    let file = "/etc/reconcile/credentials/ghe.example.net-8443-token";
    let todo = said(&imported, NoteKind::Todo);
    assert!(todo.contains(file) && !todo.contains("LoadCredential"), "{todo}");
    let state = state(&imported);
    assert_eq!(state.auth["ghe.example.net:8443"], CredentialRef::File(file.into()));
    let apps = apps(&state);
    let Origin::Github { api, .. } = &apps.values().next().unwrap().source.origin else {
        panic!("from GitHub")
    };
    assert_eq!(api, "https://ghe.example.net:8443/api/v3");
}

#[test]
fn what_a_unit_did_around_the_update_is_named_and_not_repeated() {
    let secret = "ghp_0123456789abcdef";
    let keys = ["ExecStartPre", "ExecStartPost", "ExecStopPost", "User", "Group", "UMask"];
    let lines = keys.map(|key| format!("{key}=/bin/x {secret}\n")).concat();
    let around = format!("{USUAL}{lines}[Unit]\nOnFailure=mail.service\nOnSuccess=tell.service\n");
    let imported = import(&with_drop_ins(&[("10.conf", &around)]));
    let unmapped = said(&imported, NoteKind::Unmapped);
    for key in keys.iter().chain(&["OnFailure", "OnSuccess"]) {
        assert_eq!(unmapped.matches(&format!("`{key}=`")).count(), 1, "{unmapped}");
    }
    assert!(!unmapped.contains(secret));
    let reset = format!("{USUAL}ExecStartPre=/bin/x\nExecStartPre=\n");
    let imported = import(&with_drop_ins(&[("10.conf", &reset)]));
    assert_eq!(said(&imported, NoteKind::Unmapped), "");
}

#[test]
fn malformed_line_with_a_token_is_not_repeated() {
    let secret = "ghp_0123456789abcdef";
    let imported = import(&with_drop_ins(&[(
        "10.conf",
        &format!(
            "{USUAL}Environment=\"GITHUB_TOKEN={secret}\\.\"\nExecStart=/bin/curl -H {secret}\n"
        ),
    )]));
    assert!(said(&imported, NoteKind::Ignored).contains("double each backslash"));
    assert!(said(&imported, NoteKind::Unmapped).contains("`/bin/curl`"));
    assert!(imported.notes.iter().all(|note| !note.to_string().contains(secret)));
}

#[test]
fn second_instance_of_one_app_is_left_out() {
    let mut files = with_drop_ins(&[("10.conf", USUAL)]);
    let again =
        format!("[Service]\n{USUAL}ExecStart=\nExecStart=distronomicon --app myapp update\n");
    files.push(file("distronomicon@other.service.d/x.conf", &again));
    let imported = import(&files);
    assert_eq!(state(&imported).resources.len(), 1);
    assert!(said(&imported, NoteKind::Unmapped).contains("written twice"));
}

#[test]
fn restart_commands_become_units_or_stay_shell_lines() {
    let spec = |command: &str| {
        let line = format!("Environment='DISTRONOMICON_RESTART_COMMAND={command}'\n");
        app(&import(&with_drop_ins(&[("10.conf", &format!("{USUAL}{line}"))])))
    };
    for command in ["systemctl restart myapp", "/usr/bin/systemctl restart %i.service"] {
        let spec = spec(command);
        assert_eq!(spec.restart, ["myapp.service"], "{command}");
        assert!(spec.run.is_empty());
    }
    assert_eq!(spec("systemctl restart a.timer b").restart, ["a.timer", "b.service"]);
    for command in [
        "systemctl reload myapp",
        "systemctl restart a && echo ok",
        "systemctl restart --no-block a",
    ] {
        let spec = spec(command);
        assert_eq!(spec.run, [["sh", "-c", command]], "{command}");
        assert!(spec.restart.is_empty());
    }
}

#[test]
fn environment_files_win_over_environment_lines() {
    let mut files = with_drop_ins(&[(
        "10.conf",
        &format!(
            "{USUAL}EnvironmentFile=-/etc/distronomicon/%i.env\nEnvironmentFile=/etc/gone.env\n"
        ),
    )]);
    files.push(file(
        "/etc/distronomicon/myapp.env",
        "# settings\nDISTRONOMICON_PATTERN=\"myapp-.*\\.tgz\"\nDISTRONOMICON_RETAIN=4\n",
    ));
    let imported = import(&files);
    let spec = app(&imported);
    assert_eq!(spec.asset, AssetWish::FirstMatch(r"myapp-.*\.tgz".into()));
    assert_eq!(spec.retain, 4);
    assert!(said(&imported, NoteKind::Unmapped).contains("/etc/gone.env"));
}

#[test]
fn apps_that_cannot_be_imported_are_left_out_and_said_so() {
    let imported = import(&[
        file("distronomicon@.service", TEMPLATE),
        file("distronomicon@norepo.service.d/x.conf", "[Service]\nEnvironment=A=b\n"),
        file(
            "distronomicon@a b.service.d/x.conf",
            "[Service]\nEnvironment=DISTRONOMICON_REPO=a/b\n",
        ),
        file(
            "distronomicon@badregex.service.d/x.conf",
            "[Service]\nEnvironment=DISTRONOMICON_REPO=a/b DISTRONOMICON_PATTERN=(\n",
        ),
    ]);
    assert!(state(&imported).resources.is_empty());
    let unmapped = said(&imported, NoteKind::Unmapped);
    assert!(unmapped.contains("norepo: `DISTRONOMICON_REPO` is not set"), "{unmapped}");
    assert!(unmapped.contains("`a b` cannot be a name"), "{unmapped}");
    assert!(unmapped.contains("badregex") && unmapped.contains("unclosed group"), "{unmapped}");
    assert_eq!(said(&imported, NoteKind::Todo).matches("by hand").count(), 3);
}

#[test]
fn unit_with_several_commands_becomes_an_app_of_each() {
    let unit = "[Service]\nType=oneshot\nExecStart=distronomicon --app gone --repo g/h update\nExecStart=\n\
                ExecStart=-/usr/bin/env DISTRONOMICON_RETAIN=5 distronomicon --app one --repo a/b --pattern x.* update\n\
                ExecStart=/bin/true\n\
                ExecStart=distronomicon --app=two --repo c/d --pattern y.* check\n\
                ExecStart=distronomicon --app=two --repo c/d --pattern z.* update\n";
    let imported = import(&[file("tools.service", unit)]);
    let wished = state(&imported);
    let apps = apps(&wished);
    let told: Vec<_> = apps.iter().map(|(id, spec)| (id.clone(), spec.clone())).collect();
    let [(one, first), (two, second)] = &told[..] else { panic!("{imported:#?}") };
    assert_eq!((one.as_str(), two.as_str()), ("one", "two"));
    assert_eq!(first.asset, AssetWish::FirstMatch("x.*".into()));
    assert_eq!(second.asset, AssetWish::FirstMatch("z.*".into()));
    assert_eq!((first.retain, second.retain), (5, 3), "what `env` sets is for its own command");
}

#[test]
fn idle_instances_are_named_before_they_become_live() {
    let mut files = with_drop_ins(&[("10.conf", USUAL)]);
    files.retain(|file| !file.path.contains(".wants"));
    assert!(said(&import(&files), NoteKind::Changed).contains("is not enabled"));
    assert!(said(&import(&[]), NoteKind::Info).contains("no unit named"));
}

#[test]
fn units_are_found_below_a_directory_with_the_files_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let system = dir.path().join("etc/systemd/system");
    let drop_ins = system.join("distronomicon@tool.service.d");
    std::fs::create_dir_all(&drop_ins).unwrap();
    std::fs::create_dir_all(system.join("timers.target.wants")).unwrap();
    let env = dir.path().join("tool.env");
    std::fs::write(&env, "DISTRONOMICON_REPO=a/tool\nDISTRONOMICON_PATTERN=tool\n").unwrap();
    std::fs::write(system.join("distronomicon@.service"), TEMPLATE).unwrap();
    std::fs::write(system.join("unrelated.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    std::fs::write(
        drop_ins.join("x.conf"),
        format!("[Service]\nEnvironmentFile={}\n", env.display()),
    )
    .unwrap();
    std::os::unix::fs::symlink(
        "/nowhere/distronomicon@.timer",
        system.join("timers.target.wants/distronomicon@tool.timer"),
    )
    .unwrap();
    let files = load(&[dir.path().to_owned()], |path| PathBuf::from(path)).unwrap();
    assert_eq!(files.len(), 4, "{files:?}");
    let imported = import(&files);
    assert_eq!(app(&imported).asset, AssetWish::FirstMatch("tool".into()));
    assert!(!said(&imported, NoteKind::Changed).contains("is not enabled"));
    assert!(load(&[dir.path().join("absent")], |path| PathBuf::from(path)).is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_units_never_panic_and_always_give_a_valid_document(
        text in "[ -~\n]{0,80}",
        env in "(Environment|ExecStart|EnvironmentFile)=[ -~äö\n]{0,120}",
    ) {
        let imported = import(&with_drop_ins(&[("10.conf", &format!("{USUAL}{env}\n{text}\n"))]));
        state(&imported);
    }
}
