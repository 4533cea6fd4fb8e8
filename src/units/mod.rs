//! The systemd units that keep `reconcile` running; pure texts.
//!
//! A service for the loop, or a oneshot service with a timer and a path unit. Either way the service sees the
//! host read-only but for the places where the desired state puts things. Every entry of `ReadWritePaths=` is
//! a mount of its own and nothing can be renamed across two of them, so each place is the directory in which
//! a kind stages and switches. What must reach the host itself (merging extensions, hooks) is done by the
//! service manager in transient units.

mod places;
mod text;

use std::fmt::Write;

use camino::Utf8PathBuf;

pub use places::{Places, places};
use text::{argument, path};

/// The service, in both modes.
pub const SERVICE: &str = "reconcile.service";

/// Starts the service on a schedule.
pub const TIMER: &str = "reconcile.timer";

/// Starts the service when the desired state changes.
pub const PATH: &str = "reconcile.path";

/// All units that any mode has.
pub const ALL: [&str; 3] = [SERVICE, TIMER, PATH];

/// How `reconcile` is kept running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process that waits.
    Service,
    /// A pass each time, started by a timer and by changes of the desired state.
    Timer,
}

impl Mode {
    /// The units that are enabled.
    pub fn enabled(self) -> &'static [&'static str] {
        match self {
            Self::Service => &[SERVICE],
            Self::Timer => &[TIMER, PATH],
        }
    }
}

/// What the units depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which units.
    pub mode: Mode,
    /// The program, absolute.
    pub program: Utf8PathBuf,
    /// Options that say where the desired state is.
    pub options: Vec<String>,
    /// What is read and written.
    pub places: Places,
    /// Paths whose change starts a pass, in the mode with a timer.
    pub watched: Vec<Utf8PathBuf>,
    /// Credentials to load: name and file.
    pub credentials: Vec<(String, Utf8PathBuf)>,
}

/// One unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// Its name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

/// Makes the unit files.
pub fn render(settings: &Settings) -> Vec<UnitFile> {
    let service = UnitFile { name: SERVICE, text: service(settings) };
    match settings.mode {
        Mode::Service => vec![service],
        Mode::Timer => {
            let timer = UnitFile { name: TIMER, text: TIMER_TEXT.to_owned() };
            let watches = UnitFile { name: PATH, text: path_unit(&settings.watched) };
            vec![service, timer, watches]
        }
    }
}

/// The sandbox: 2.1 by `systemd-analyze security` of systemd 252. `chown` is allowed again because archives and
/// trees have owners.
const SANDBOX: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SETFCAP CAP_LINUX_IMMUTABLE
ProtectSystem=strict
PrivateDevices=yes
PrivateMounts=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
KeyringMode=private
DevicePolicy=closed
UMask=0022
";

/// A fixed delay for each host: without it every daemon-reload rolls a new one, and a timer can starve.
const TIMER_TEXT: &str = "\
[Unit]
Description=Keep this host's software equal to its desired state, from time to time
Documentation=man:reconcile(1)

[Timer]
OnBootSec=2min
OnUnitInactiveSec=5min
RandomizedDelaySec=60s
FixedRandomDelay=yes
AccuracySec=1s

[Install]
WantedBy=timers.target
";

fn service(settings: &Settings) -> String {
    let mut command = vec![argument(settings.program.as_str())];
    let (kind, schedule) = match settings.mode {
        Mode::Service => {
            command.push("run".to_owned());
            let lines = "ExecReload=/bin/kill -HUP $MAINPID\nWatchdogSec=5min\nTimeoutStopSec=2min\n\
                 Restart=on-failure\nRestartSec=10s\nRestartPreventExitStatus=64 78\n";
            ("notify", lines)
        }
        Mode::Timer => {
            let lines = "SuccessExitStatus=2 3\nTimeoutStopSec=2min\n";
            ("oneshot", lines)
        }
    };
    command.push("--hooks".to_owned());
    command.push("transient".to_owned());
    command.extend(settings.options.iter().map(|option| argument(option)));
    let places = &settings.places;
    // What is not there cannot be mounted, so it is made first, outside the sandbox. That command has a sandbox
    // of its own all the same, in which what is missing must be passed over. What cannot be made is told by the pass: a
    // merged confext makes all of /etc read-only.
    let writable = places.writable.iter().map(|place| path(&format!("-{place}")));
    let writable: Vec<String> = writable.collect();
    let made: Vec<String> = places.writable.iter().map(|p| argument(p.as_str())).collect();
    let mut text = format!(
        "[Unit]\n\
         Description=Keep this host's software equal to its desired state\n\
         Documentation=man:reconcile(1)\n\
         Wants=network-online.target\n\
         After=network-online.target systemd-sysext.service systemd-confext.service\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\n\
         Type={kind}\n\
         ExecStartPre=-+/bin/mkdir -p -- {}\n\
         ExecStart={}\n{schedule}\
         StateDirectory=reconcile\n\
         CacheDirectory=reconcile\n\
         RuntimeDirectory=reconcile\n",
        made.join(" "),
        command.join(" "),
    );
    for (name, file) in &settings.credentials {
        let _ = writeln!(text, "LoadCredential={name}:{}", path(file.as_str()));
    }
    text.push_str("Nice=5\nIOSchedulingClass=best-effort\nIOSchedulingPriority=7\n");
    let _ = writeln!(text, "ReadWritePaths={}", writable.join(" "));
    let _ = writeln!(text, "ProtectHome={}", places.home.value());
    let _ = writeln!(text, "PrivateTmp={}", if places.in_tmp { "no" } else { "yes" });
    text.push_str(SANDBOX);
    if settings.mode == Mode::Service {
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    }
    text
}

fn path_unit(watched: &[Utf8PathBuf]) -> String {
    let mut text = "[Unit]\n\
        Description=Keep this host's software equal to its desired state, when that changes\n\
        Documentation=man:reconcile(1)\n\n\
        [Path]\n"
        .to_owned();
    for watched in watched {
        let _ = writeln!(text, "PathChanged={}", text::single(watched.as_str()));
    }
    text.push_str("Unit=reconcile.service\n\n[Install]\nWantedBy=paths.target\n");
    text
}
