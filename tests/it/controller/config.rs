//! The agent's own configuration as it is read.

use jiff::SignedDuration;
use reconcile::controller::config::{AgentConfig, schema};

const EVERYTHING: &str = "
desired: [/srv/wish]
interval: 2m
sources: 1h 30m
retry: { first: 2s, most: 10m }
fight: { times: 3, within: 30m }
watch: false
listen: '[::1]:9797'
windows:
  nights: { days: [mon, tue], start: '22:30', for: 8h, zone: 'CET-1CEST,M3.5.0,M10.5.0/3' }
  fair: { rule: deny, start: '00:00', for: 24h }
";

#[test]
fn every_key_is_read() {
    let config = AgentConfig::from_text(EVERYTHING).unwrap();
    assert_eq!(config.desired, ["/srv/wish"]);
    assert_eq!(config.interval.0, SignedDuration::from_mins(2));
    assert_eq!(config.sources.0, SignedDuration::from_mins(90));
    assert_eq!(config.fight.times.0, 3);
    assert!(!config.watch.0);
    assert_eq!(config.listen.map(|listen| listen.0), Some("[::1]:9797".parse().unwrap()));
    assert_eq!(config.windows().0.len(), 2);
    let policy = config.policy(b"x");
    assert_eq!(policy.backoff.first, SignedDuration::from_secs(2));
    assert_eq!(policy.backoff.most, SignedDuration::from_mins(10));
}

#[test]
fn nothing_said_is_all_defaults() {
    for text in ["", "\n", "# nothing\n", "{}", "windows: {}"] {
        assert_eq!(AgentConfig::from_text(text), Ok(AgentConfig::default()), "{text:?}");
    }
}

#[test]
fn what_a_reload_does_not_follow_is_known() {
    let read = |text| AgentConfig::from_text(text).unwrap();
    let others = ["interval: 1h", "windows: { w: { start: '00:00', for: 1h } }"];
    for text in others {
        assert!(read("").only_at_start(&read(text)).is_empty(), "{text}");
    }
    let late = "desired: [/srv]\ngit: { url: /srv/git }\nwatch: false\nlisten: 127.0.0.1:1\nnotify: { file: /srv/log }\n";
    let keys = ["desired", "git", "watch", "listen", "notify"];
    assert_eq!(read("").only_at_start(&read(late)), keys);
    assert!(read(late).only_at_start(&read(late)).is_empty());
}

#[test]
fn mistakes_are_told_with_line_and_column() {
    for (text, line, column, said) in [
        ("interval: 5m\nintervall: 5m\n", 2, 1, "intervall"),
        ("retry:\n  first: never\n", 2, 10, "time span"),
        ("interval: 0s\n", 1, 11, "out of bounds"),
        ("interval: 2d\n", 1, 11, "out of bounds"),
        ("fight: { times: 1 }\n", 1, 17, "out of bounds"),
        ("watch: perhaps\n", 1, 8, "bool"),
        ("windows: { n: { start: '25:00', for: 1h } }\n", 1, 24, "time of day"),
        ("windows: { n: { start: '02:00', for: 8h, zone: Mars/Base } }\n", 1, 48, "time zone"),
        ("windows: { n: { start: '02:00' } }\n", 1, 17, "for"),
        ("windows: { n: { start: '02:00', for: 1h, days: [someday] } }\n", 1, 49, "someday"),
        ("interval: 5m\ninterval: 6m\n", 2, 1, "interval"),
        ("interval: [", 1, 11, ""),
        ("desired: [/srv, wish]\n", 1, 17, "absolute"),
        ("retry: { first: 10m, most: 1m }\n", 1, 8, "longer"),
        ("retry: { first: 10m }\n", 1, 8, "longer"),
        ("listen: 0.0.0.0:9797\n", 1, 9, "host alone"),
        ("notify:\n  file: events.jsonl\n", 2, 9, "absolute"),
        ("notify: { webhooks: [{ url: 'hooks.example' }] }\n", 1, 29, "https://"),
        ("notify: { webhooks: [{ url: 'https:///x' }] }\n", 1, 29, "https://"),
        ("notify: { webhooks: [{ url: 'https://a/', secret_file: key }] }\n", 1, 56, "absolute"),
        ("notify:\n  run:\n  - [mail]\n  - []\n", 4, 5, "program"),
    ] {
        let (at, column_at, what) = AgentConfig::from_text(text).unwrap_err();
        assert_eq!((at, column_at), (line, column), "{text:?}: {what}");
        assert!(what.contains(said), "{text:?}: {what}");
    }
}

#[test]
fn schema_accepts_what_is_read_and_refuses_typos() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    assert!(validator.is_valid(&value(EVERYTHING)));
    for text in ["{ intervall: 5m }", "{ interval: 5 }", "{ windows: { n: { start: '02:00' } } }"] {
        assert!(!validator.is_valid(&value(text)), "{text}");
        assert!(AgentConfig::from_text(text).is_err(), "{text}");
    }
}

#[test]
fn pipe_in_the_place_of_a_configuration_is_refused_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let pipe = temp.path().join("agent.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reconcile"));
        command.arg("--root").arg(temp.path()).arg("--config").arg(pipe).arg("--dry-run");
        done.send(command.output().unwrap()).unwrap();
    });
    let output = waits.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not a regular file"), "{said}");
}
