//! A machine that belongs to one test: a booted systemd with the agent installed from its package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest that one command may take, in seconds: two processors are shared with everything else that is tested.
const COMMAND_SECONDS_MAX: u32 = 120;

/// Longest that something is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is needed, and the package that has it.
const TOOLS: [(&str, &str); 12] = [
    ("/lib/systemd/systemd", "systemd"),
    ("/usr/bin/systemd-sysext", "systemd"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/pgrep", "procps"),
    ("/usr/bin/dpkg-deb", "dpkg"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/bin/mksquashfs", "squashfs-tools"),
    ("/usr/bin/strip", "binutils"),
    ("/usr/bin/strace", "strace"),
    ("/sbin/ip", "iproute2"),
    ("/bin/gzip", "gzip"),
];

/// A container that boots, crashes and boots again. However the test ends, the keeper takes it away.
pub struct Machine {
    directory: PathBuf,
    keeper: Child,
}

impl Machine {
    /// Boots with the package installed and nothing configured.
    pub fn boot() -> Self {
        let machine = Self::bare();
        fs::copy(package(), machine.share("reconcile.deb")).unwrap();
        // Without the file dpkg does not index the manual pages of the whole machine each time.
        machine.run("rm -f /var/lib/man-db/auto-update; dpkg -i /share/reconcile.deb");
        // Only so that the test waits less; nothing else of the unit is touched.
        machine.write(
            "/etc/systemd/system/reconcile.service.d/quick.conf",
            "[Service]\nRestartSec=200ms\nWatchdogSec=6s\n",
        );
        machine
    }

    /// Boots this machine's own systemd.
    pub fn bare() -> Self {
        for (tool, debian) in TOOLS {
            assert!(Path::new(tool).exists(), "{tool} is missing; apt-get install {debian}");
        }
        let id = Command::new("id").arg("-u").output().unwrap();
        assert_eq!(id.stdout, b"0\n", "booting a container needs root; run as root");
        let directory = crate::support::world::scratch().keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(directory.join("share")).unwrap();
        let keeper = Command::new(script())
            .arg("keep")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let machine = Self { directory, keeper };
        machine.start();
        machine
    }

    fn start(&self) {
        let started = bounded(script()).arg("start").arg(&self.directory).output().unwrap();
        assert!(started.status.success(), "{started:#?}");
    }

    /// A file of the machine's `/share`, seen from here.
    pub fn share(&self, name: &str) -> PathBuf {
        self.directory.join("share").join(name)
    }

    fn output(&self, command: &str) -> Output {
        let mut inside = bounded(script());
        inside.arg("exec").arg(&self.directory).args(["sh", "-c", command]).output().unwrap()
    }

    /// Whether a command of the shell succeeds.
    pub fn holds(&self, command: &str) -> bool {
        self.output(command).status.success()
    }

    /// What a command of the shell prints; it must succeed.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        let output = self.output(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            panic!("{command}: {}\n{text}\n{said}\n{}", output.status, self.journal());
        }
        text
    }

    /// A property of the agent's service.
    #[track_caller]
    pub fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show -P {name} reconcile.service")).trim().to_owned()
    }

    /// Waits until a command of the shell succeeds.
    #[track_caller]
    pub fn until(&self, command: &str) {
        let began = Instant::now();
        while !self.holds(command) {
            let waited = began.elapsed();
            assert!(waited < PATIENCE, "not after {waited:?}: {command}\n{}", self.journal());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes a file of the machine.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let handed = tempfile::NamedTempFile::new_in(self.directory.join("share")).unwrap();
        fs::write(handed.path(), text).unwrap();
        let name = handed.path().file_name().unwrap().to_str().unwrap();
        self.run(&format!("install -D -m 644 /share/{name} {path}"));
    }

    /// Every process is gone at once, and the machine boots from what its disk has.
    pub fn crash_and_boot(&self) {
        let crashed = bounded(script()).arg("crash").arg(&self.directory).output().unwrap();
        assert!(crashed.status.success(), "{crashed:#?}");
        self.start();
    }

    fn journal(&self) -> String {
        let text = self.output(
            "journalctl -b --no-pager -o short-monotonic -n 120; systemctl status reconcile.service --no-pager; \
             reconcile status 2>&1",
        );
        String::from_utf8_lossy(&text.stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/booted/boot.sh")
}

/// A command that ends, with nothing to read.
fn bounded(program: PathBuf) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &COMMAND_SECONDS_MAX.to_string()]).arg(program);
    command.stdin(Stdio::null());
    command
}

/// The package, made once of the program under test. Without symbols, so that it is made in seconds.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = tempfile::tempdir_in(target).unwrap();
        let program = made.path().join("reconcile");
        let source = env!("CARGO_BIN_EXE_reconcile");
        let stripped = Command::new("strip").arg("-o").arg(&program).arg(source).output().unwrap();
        assert!(stripped.status.success(), "{stripped:#?}");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let built = bounded(root.join("packaging/build-deb"))
            .arg(made.path())
            .env("RECONCILE_PROGRAM", &program)
            .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
            .env("DPKG_DEB_COMPRESSOR_LEVEL", "1")
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:#?}");
        let package = String::from_utf8(built.stdout).unwrap();
        // Several runs may do this at once: the last one stays.
        let place = target.join("reconcile.deb");
        fs::rename(package.trim(), &place).unwrap();
        place
    })
}
