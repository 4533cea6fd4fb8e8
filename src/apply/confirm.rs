//! Whether a release works: sampled before the switch and after it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::fetch::probe::status as status_of;
use crate::host::Look;
use crate::host::runner::{RunError, can_start, hook, output};
use crate::model::outcome::chain;
use crate::model::{Check, Probe};

/// Samples that must fail in a row before what is in use counts as failing: one alone may be chance.
const BASELINE_SAMPLES: usize = 3;

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

/// Why a release was not seen to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unhealthy {
    /// A probe looked and said no.
    Fails(String),
    /// A probe could not even look: its program cannot be started.
    Blind {
        /// The program.
        program: String,
        /// Why.
        why: String,
    },
}

impl Unhealthy {
    /// In words.
    pub fn why(self) -> String {
        match self {
            Self::Fails(why) | Self::Blind { why, .. } => why,
        }
    }
}

/// Looks once.
pub async fn sample(check: &Check, host: &Look) -> Result<Vec<String>, Unhealthy> {
    let mut states = Vec::with_capacity(check.probes.len());
    for probe in &check.probes {
        let state = timeout(ANSWER_WITHIN, look(probe, host)).await.unwrap_or_else(|_| {
            Err(Unhealthy::Fails(format!(
                "there was no answer within {} s",
                ANSWER_WITHIN.as_secs()
            )))
        });
        states.push(state.map_err(|error| match (probe, error) {
            // What a program said names it already.
            (Probe::Exec(_), error) => error,
            (_, error) => Unhealthy::Fails(format!("{}: {}", probe.describe(), error.why())),
        })?);
    }
    Ok(states)
}

/// Looks at what is in use before anything is touched. It fails only when it goes on failing, for as long as a release
/// has to hold.
pub async fn baseline(check: &Check, host: &Look) -> Result<(), Unhealthy> {
    let began = Instant::now();
    let mut deadline = began + Duration::from_millis(check.deadline_ms);
    let mut samples = 0;
    let mut last = None;
    loop {
        let why = match timeout_at(deadline, sample(check, host)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(Unhealthy::Fails(why))) => why,
            Ok(Err(blind)) => return Err(blind),
            Err(_) => last.unwrap_or_else(unanswered),
        };
        samples += 1;
        let now = Instant::now();
        let next = now + Duration::from_millis(check.interval_ms);
        let stable = now - began >= Duration::from_millis(check.stable_ms);
        if next > deadline || (stable && samples >= BASELINE_SAMPLES) {
            return Err(Unhealthy::Fails(why));
        }
        last = Some(why);
        deadline += late_after(next).await;
    }
}

/// Sleeps, and says how much longer than it was to: while something else of the pass kept the thread, nobody looked, which
/// is not taken from the time that a release has.
async fn late_after(until: Instant) -> Duration {
    sleep_until(until).await;
    until.elapsed()
}

fn unanswered() -> String {
    "there was no answer before the deadline".to_owned()
}

/// Looks until every probe has held for long enough, or for too long. The time that it waits for its turn is not taken
/// from what the release has to show that it works.
pub async fn watch(check: &Check, host: &Look, turns: &Semaphore) -> Health {
    let mut deadline = Instant::now() + Duration::from_millis(check.deadline_ms);
    let stable = Duration::from_millis(check.stable_ms);
    let mut holds_since: Option<(Instant, Vec<String>)> = None;
    let mut last = None;
    loop {
        let waits = Instant::now();
        let turn = turns.acquire().await;
        deadline += waits.elapsed();
        let sampled = timeout_at(deadline, sample(check, host)).await;
        drop(turn);
        let Ok(sampled) = sampled else {
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
            Err(error) => {
                holds_since = None;
                error.why()
            }
        };
        let next = Instant::now() + Duration::from_millis(check.interval_ms);
        if next > deadline {
            return Health::Fails(why);
        }
        last = Some(why);
        deadline += late_after(next).await;
    }
}

/// What a probe sees: equal texts mean that nothing moved.
async fn look(probe: &Probe, host: &Look) -> Result<String, Unhealthy> {
    match probe {
        Probe::Unit(unit) => unit_state(unit).await.map_err(Unhealthy::Fails),
        Probe::Exec(argv) => run(argv, host).await.map(|()| String::new()),
        Probe::Tcp(address) => {
            let connected = TcpStream::connect(address.as_str()).await;
            connected.map(|_| String::new()).map_err(|e| Unhealthy::Fails(e.to_string()))
        }
        Probe::Http { url, status } => {
            let answered = status_of(url).await.map_err(|e| Unhealthy::Fails(chain(&e)))?;
            if answered == *status {
                Ok(String::new())
            } else {
                Err(Unhealthy::Fails(format!("the answer is {answered}")))
            }
        }
    }
}

async fn run(argv: &[String], host: &Look) -> Result<(), Unhealthy> {
    let Some(program) = argv.first() else { return Ok(()) };
    let ran = match can_start(program) {
        // Whoever starts it elsewhere would not say which of the two could not be started.
        Ok(()) => hook(host.hooks(), argv, &[host.root_variable()]).await,
        cannot => cannot,
    };
    ran.map_err(|error| {
        let why = chain(&error);
        match error {
            RunError::Start { .. } => Unhealthy::Blind { program: program.clone(), why },
            RunError::Failed { .. } | RunError::TimedOut { .. } => Unhealthy::Fails(why),
        }
    })
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
