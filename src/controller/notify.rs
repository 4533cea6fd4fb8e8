//! Telling systemd how the agent is, when it was started as a service of the type `notify`.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;

use crate::controller::drive::{News, Observer};

/// Longest status line, in bytes: systemd shows one line.
const STATUS_BYTES_MAX: usize = 400;

/// How long whoever is told may take: systemd reads at once, or is busy with itself.
const SEND_TIME_MAX: Duration = Duration::from_millis(500);

/// Tells systemd, if it wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// How often the watchdog is to be fed: twice as often as it demands. `None` when there is none.
    pub fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|time| time / 2)
    }

    /// Says that the loop goes on. Only the loop itself does this.
    pub fn feed() {
        tell(&[NotifyState::Watchdog]);
    }
}

impl Observer for Systemd {
    fn told(&mut self, news: &News<'_>) {
        match news {
            News::Ready => tell(&[NotifyState::Ready, NotifyState::Status("ready")]),
            News::Began(order) => status(&format!("making a pass ({})", order.why())),
            News::Ended(_, done) => status(&done.message),
            News::Waiting { until, last } => status(&waiting(*until, last)),
            News::Reloading => reloading("reading the configuration again"),
            // The successor says that it is ready.
            News::Renewing => reloading("going on as the program that replaced this one"),
            News::Reloaded(said) => {
                let said = said.as_ref().map_or_else(|why| line(why), |()| "reloaded".to_owned());
                tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
            }
            News::Stopping => tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
        }
    }
}

fn reloading(why: &str) {
    let status = NotifyState::Status(why);
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, status]),
        Err(_) => tell(&[NotifyState::Reloading, status]),
    }
}

fn waiting(until: Timestamp, last: &str) -> String {
    let until = until.round(jiff::Unit::Second).unwrap_or(until);
    format!("{last}; next pass {until}")
}

fn status(text: &str) {
    tell(&[NotifyState::Status(&line(text))]);
}

/// One line, not too long.
fn line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    if line.len() > STATUS_BYTES_MAX {
        let end = (0..=STATUS_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or(0));
    }
    line
}

/// Nobody who listens is no error.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = send(states) {
        tracing::debug!(%error, "cannot tell systemd");
    }
}

/// As `sd_notify::notify`, but whoever does not take what he is told is not waited for: the loop goes on.
#[expect(clippy::disallowed_methods, reason = "who is to be told stands in the environment alone")]
fn send(states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIME_MAX))?;
    let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
    socket.send_to_addr(lines.join("\n").as_bytes(), &address).map(drop)
}
