//! From a Git repository to a running, self-healing host, and what may happen to it then.

use std::fs;

use super::fleet::{AGENT, Fleet, weather};
use super::machine::Machine;

/// A service that uses the program and must be restarted with it.
const WEATHER_UNIT: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Succeeds when this version of the program is in use.
fn in_use(version: &str) -> String {
    format!("/opt/weather/bin/weather | grep -q 'weather {version}:'")
}

/// A machine whose agent follows a repository, set up as the README's second screen says.
fn following<'a>(machine: &'a Machine, wish: &str) -> Fleet<'a> {
    let fleet = Fleet::new(machine);
    fleet.push(wish);
    machine.write("/etc/reconcile/agent.yaml", AGENT);
    machine.run("reconcile units --install");
    machine.run("reconcile request --wait");
    fleet
}

/// Lets the agent look often, by editing its configuration while it runs.
fn look_often(machine: &Machine) {
    machine.write("/etc/reconcile/agent.yaml", &format!("{AGENT}interval: 1s\n"));
    machine.run("systemctl reload reconcile");
}

#[test]
fn three_commands_make_a_host_that_follows_its_repository() {
    let machine = Machine::boot();
    machine.write("/etc/systemd/system/weather.service", WEATHER_UNIT);
    machine.run("systemctl daemon-reload; systemctl start weather");
    let process = || machine.run("systemctl show -P MainPID weather");
    let restart = "    restart: [weather.service]\n";
    let before = process();
    let fleet = following(&machine, &weather("0.3.0", restart));
    let status = machine.run("reconcile status");
    assert!(status.contains("app/weather") && status.contains("0.3.0"), "{status}");
    machine.run(&in_use("0.3.0"));
    let first = process();
    assert_ne!(first, before, "restarted with the program that it uses");
    assert_eq!(machine.property("Type"), "notify");
    machine.until("systemctl show -P StatusText reconcile | grep -q 'next pass'");

    look_often(&machine);
    fleet.push(&weather("0.9.2", restart));
    machine.until(&in_use("0.9.2"));
    machine.until(&format!("test $(systemctl show -P MainPID weather) != {}", first.trim()));

    let edited = "echo broken > /opt/weather/releases/0.9.2/weather; ! /opt/weather/bin/weather";
    machine.run(edited);
    machine.until(&in_use("0.9.2"));
    machine.run("rm -r /opt/weather/bin");
    machine.until(&in_use("0.9.2"));
    machine.until("reconcile history | grep -q drift");
}

#[test]
fn killed_or_hanging_agent_is_back_by_itself() {
    let machine = Machine::boot();
    let fleet = following(&machine, &weather("0.3.0", ""));
    look_often(&machine);
    let restarts = || machine.property("NRestarts");
    assert_eq!(restarts(), "0");

    machine.run("systemctl kill -s KILL reconcile");
    machine.until("test $(systemctl show -P NRestarts reconcile) = 1");
    fleet.push(&weather("0.9.2", ""));
    machine.until(&in_use("0.9.2"));

    machine.run("systemctl kill -s STOP reconcile");
    fleet.push(&weather("0.3.0", ""));
    machine.until("journalctl -u reconcile | grep -q 'Watchdog timeout'");
    machine.until("test $(systemctl show -P NRestarts reconcile) = 2");
    machine.until(&in_use("0.3.0"));
    assert_eq!(machine.property("ActiveState"), "active");
}

#[test]
fn waiting_agent_is_one_thread_that_makes_no_system_call() {
    let machine = Machine::boot();
    // The usual watchdog is fed every few minutes.
    machine.run("rm -r /etc/systemd/system/reconcile.service.d; systemctl daemon-reload");
    let _fleet = following(&machine, &weather("0.3.0", ""));
    // Threads that worked are kept for ten seconds.
    machine.until("test $(ls /proc/$(systemctl show -P MainPID reconcile)/task | wc -l) = 1");
    // Connections that worked are kept for a while as well: it comes to rest, and then there is nothing at all.
    let mut trace = String::new();
    for _ in 0..12 {
        trace = machine.run(
            "timeout -s INT 5 strace -f -qq -o /share/trace -p $(systemctl show -P MainPID reconcile); cat /share/trace",
        );
        // The call in which it waits began before and ends after.
        if trace.contains("epoll_wait") && trace.lines().all(|line| line.contains("<detached")) {
            return;
        }
    }
    panic!("{trace}");
}

/// Answers every request, the program's a byte at a time as long as the machine has not crashed.
const DRIP: &str = r#"#!/bin/bash
read -r _ path _
while read -r line && [ "${line%$'\r'}" ]; do :; done
file=/share/releases/${path##*/}
[ -f "$file" ] || { printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'; exit; }
printf 'HTTP/1.1 200 OK\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$(stat -c %s "$file")"
case $path in
*.gz)
    if [ ! -e /share/crashed ]; then
        head -c 10 "$file"
        touch /share/dripping
        sleep 300
    fi ;;
esac
cat "$file"
"#;

const DRIP_SOCKET: &str =
    "[Socket]\nListenStream=127.0.0.1:8080\nAccept=yes\n\n[Install]\nWantedBy=sockets.target\n";
const DRIP_SERVICE: &str =
    "[Service]\nExecStart=/bin/bash /share/drip\nStandardInput=socket\nStandardError=journal\n";

#[test]
fn crash_while_fetching_is_made_up_for_after_the_reboot() {
    let machine = Machine::boot();
    fs::write(machine.share("drip"), DRIP).unwrap();
    machine.write("/etc/systemd/system/drip.socket", DRIP_SOCKET);
    machine.write("/etc/systemd/system/drip@.service", DRIP_SERVICE);
    machine.run("systemctl daemon-reload; systemctl enable --now drip.socket");
    let fleet = following(&machine, &weather("0.3.0", ""));
    fleet.push(&format!(
        "{}  clock:\n    version: 1.1.0\n    source: {{ http: {{ url: \"http://127.0.0.1:8080\", pattern: \
         \"clock-{{version}}.gz\" }} }}\n    verify: {{ min: checksum, checksums: SHA256SUMS }}\n",
        weather("0.9.2", "")
    ));
    machine.run("reconcile request");
    machine.until("test -e /share/dripping");
    fs::write(machine.share("crashed"), "").unwrap();
    machine.crash_and_boot();
    machine.until(&in_use("0.9.2"));
    machine.until("test -x /opt/clock/bin/clock");
    machine.run("reconcile --dry-run | grep '^No changes'");
}

#[test]
fn crash_in_a_hook_is_made_up_for_after_the_reboot() {
    let machine = Machine::boot();
    let hook = "    run: [[sh, -c, \"echo begun >> /share/hook; [ -e /share/crashed ] || sleep 300; echo done >> /share/hook\"]]\n";
    let fleet = following(&machine, &weather("0.3.0", ""));
    fleet.push(&weather("0.9.2", hook));
    machine.run("reconcile request");
    machine.until("test -e /share/hook");
    machine.run(&in_use("0.9.2"));
    fs::write(machine.share("crashed"), "").unwrap();
    machine.crash_and_boot();
    machine.until("grep -q done /share/hook");
    assert_eq!(fs::read_to_string(machine.share("hook")).unwrap(), "begun\nbegun\ndone\n");
    machine.run(&in_use("0.9.2"));
    machine.until("reconcile --dry-run | grep '^No changes'");
}
