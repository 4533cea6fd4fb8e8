//! Whether a release works: sampled before the switch and after it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::fetch::probe::status as status_of;
use crate::host::runner::{Hooks, hook, output};
use crate::model::outcome::chain;
use crate::model::{Check, Probe};

/// How long one answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What looking at a release for a while came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Every probe held.
    Holds,
    /// It did not hold in time; the last reason.
    Fails(String),
}

/// Looks once.
pub async fn sample(check: &Check, hooks: Hooks) -> Result<Vec<String>, String> {
    let mut states = Vec::with_capacity(check.probes.len());
    for probe in &check.probes {
        let state = timeout(ANSWER_WITHIN, look(probe, hooks)).await.unwrap_or_else(|_| {
            Err(format!("there was no answer within {} s", ANSWER_WITHIN.as_secs()))
        });
        states.push(state.map_err(|why| match probe {
            // What a program said names it already.
            Probe::Exec(_) => why,
            _ => format!("{}: {why}", probe.describe()),
        })?);
    }
    Ok(states)
}

/// Looks until every probe has held for long enough, or for too long.
pub async fn watch(check: &Check, hooks: Hooks) -> Health {
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(check.deadline_ms);
    let stable = Duration::from_millis(check.stable_ms);
    let mut holds_since: Option<(Instant, Vec<String>)> = None;
    let mut last = None;
    loop {
        let Ok(sampled) = timeout_at(deadline, sample(check, hooks)).await else {
            let unanswered = || "there was no answer before the deadline".to_owned();
            return Health::Fails(last.unwrap_or_else(unanswered));
        };
        let why = match sampled {
            Ok(states) => {
                let since = match &holds_since {
                    // A unit that was restarted meanwhile is active and does not work.
                    Some((since, before)) if *before == states => *since,
                    _ => Instant::now(),
                };
                if since.elapsed() >= stable {
                    return Health::Holds;
                }
                holds_since = Some((since, states));
                "it did not hold for long enough".to_owned()
            }
            Err(why) => {
                holds_since = None;
                why
            }
        };
        let next = Instant::now() + Duration::from_millis(check.interval_ms);
        if next > deadline {
            return Health::Fails(why);
        }
        last = Some(why);
        sleep(next - Instant::now()).await;
    }
}

/// What a probe sees: equal texts mean that nothing moved.
async fn look(probe: &Probe, hooks: Hooks) -> Result<String, String> {
    match probe {
        Probe::Unit(unit) => unit_state(unit).await,
        Probe::Exec(argv) => {
            let ran = hook(hooks, argv, &[]).await;
            ran.map(|()| String::new()).map_err(|e| chain(&e))
        }
        Probe::Tcp(address) => {
            let connected = TcpStream::connect(address.as_str()).await;
            connected.map(|_| String::new()).map_err(|e| e.to_string())
        }
        Probe::Http { url, status } => {
            let answered = status_of(url).await.map_err(|e| chain(&e))?;
            if answered == *status {
                Ok(String::new())
            } else {
                Err(format!("the answer is {answered}"))
            }
        }
    }
}

/// `ActiveState` must be `active`; the number of restarts tells one life of the unit from the next.
async fn unit_state(unit: &str) -> Result<String, String> {
    let argv = ["systemctl", "show", "--property=ActiveState,SubState,NRestarts", "--", unit];
    let text = output(&argv.map(str::to_owned)).await.map_err(|e| chain(&e))?;
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    match value("ActiveState") {
        "active" => Ok(format!("{} {}", value("SubState"), value("NRestarts"))),
        state => Err(format!("it is {state} ({})", value("SubState"))),
    }
}
