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
    /// Nobody could look in time; the last reason. That says nothing about the release.
    Blind(String),
}

/// Why a release was not seen to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unhealthy {
    /// A probe looked and said no.
    Fails(String),
    /// A probe could not even look: its program cannot be started, or systemd does not answer.
    Blind {
        /// The program through which it looks.
        program: String,
        /// Why.
        why: String,
    },
}

impl Unhealthy {
    /// The same, where what is said begins with something else.
    fn said_of(self, probe: &str) -> Self {
        match self {
            Self::Fails(why) => Self::Fails(format!("{probe}: {why}")),
            Self::Blind { program, why } => Self::Blind { program, why: format!("{probe}: {why}") },
        }
    }
}

impl From<Unhealthy> for Health {
    fn from(unhealthy: Unhealthy) -> Self {
        match unhealthy {
            Unhealthy::Fails(why) => Self::Fails(why),
            Unhealthy::Blind { why, .. } => Self::Blind(why),
        }
    }
}

/// Looks once, and not past a deadline.
async fn sample(check: &Check, host: &Look, deadline: Instant) -> Result<Vec<String>, Unhealthy> {
    let mut states = Vec::with_capacity(check.probes.len());
    for probe in &check.probes {
        let until = deadline.min(Instant::now() + ANSWER_WITHIN);
        let Ok(state) = timeout_at(until, look(probe, host)).await else {
            let within = if until == deadline {
                "before the deadline".to_owned()
            } else {
                format!("within {} s", ANSWER_WITHIN.as_secs())
            };
            let why = format!("there was no answer {within}");
            return Err(Unhealthy::Fails(why).said_of(&probe.describe()));
        };
        states.push(state.map_err(|error| match (probe, error) {
            // What a program said names it already.
            (Probe::Exec(_), error) => error,
            (_, error) => error.said_of(&probe.describe()),
        })?);
    }
    Ok(states)
}

/// Whether each probe could look at all, where nothing is in use yet that it could look at.
pub async fn can_look(check: &Check) -> Result<(), Unhealthy> {
    for probe in &check.probes {
        match probe {
            Probe::Exec(argv) => argv.first().map_or(Ok(()), |program| starts(program))?,
            Probe::Unit(unit) => match timeout(ANSWER_WITHIN, unit_state(unit)).await {
                Ok(Err(blind @ Unhealthy::Blind { .. })) => {
                    return Err(blind.said_of(&probe.describe()));
                }
                _ => {}
            },
            Probe::Tcp(_) | Probe::Http { .. } => {}
        }
    }
    Ok(())
}

/// Looks at what is in use before anything is touched. It fails only when it goes on failing, for as long as a release
/// has to hold.
pub async fn baseline(check: &Check, host: &Look) -> Result<(), Unhealthy> {
    let began = Instant::now();
    let mut deadline = began + Duration::from_millis(check.deadline_ms);
    let mut samples = 0;
    let mut last = None;
    loop {
        let looked = sample(check, host, deadline).await;
        let now = Instant::now();
        let why = match looked {
            Ok(_) => return Ok(()),
            // A look that was cut off says less than the one before.
            Err(Unhealthy::Fails(why)) => last.filter(|_| now >= deadline).unwrap_or(why),
            Err(blind) => return Err(blind),
        };
        samples += 1;
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

/// Looks until every probe has held for long enough, or for too long. The time that it waits for its turn is not taken
/// from what the release has to show that it works.
pub async fn watch(check: &Check, host: &Look, turns: &Semaphore) -> Health {
    let mut deadline = Instant::now() + Duration::from_millis(check.deadline_ms);
    let stable = Duration::from_millis(check.stable_ms);
    let mut holds_since: Option<(Instant, Vec<String>)> = None;
    let mut last: Option<Unhealthy> = None;
    loop {
        let waits = Instant::now();
        let turn = turns.acquire().await;
        deadline += waits.elapsed();
        let sampled = sample(check, host, deadline).await;
        drop(turn);
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
                Unhealthy::Fails("it did not hold for long enough".to_owned())
            }
            Err(error) => {
                holds_since = None;
                // A look that was cut off says less than the one before.
                last.filter(|_| Instant::now() >= deadline).unwrap_or(error)
            }
        };
        let next = Instant::now() + Duration::from_millis(check.interval_ms);
        if next > deadline {
            return why.into();
        }
        last = Some(why);
        deadline += late_after(next).await;
    }
}

/// What a probe sees: equal texts mean that nothing moved.
async fn look(probe: &Probe, host: &Look) -> Result<String, Unhealthy> {
    match probe {
        Probe::Unit(unit) => unit_state(unit).await,
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
    // Whoever starts it elsewhere would not say which of the two could not be started.
    starts(program)?;
    hook(host.hooks(), argv, &[host.root_variable()]).await.map_err(|error| {
        let why = chain(&error);
        match error {
            RunError::Start { .. } => Unhealthy::Blind { program: program.clone(), why },
            RunError::Failed { .. } | RunError::TimedOut { .. } => Unhealthy::Fails(why),
        }
    })
}

fn starts(program: &str) -> Result<(), Unhealthy> {
    can_start(program)
        .map_err(|error| Unhealthy::Blind { program: program.to_owned(), why: chain(&error) })
}

/// `ActiveState` must be `active`; the number of restarts tells one life of the unit from the next.
async fn unit_state(unit: &str) -> Result<String, Unhealthy> {
    let argv = ["systemctl", "show", "--property=ActiveState,SubState,NRestarts", "--", unit];
    let text = output(&argv.map(str::to_owned)).await.map_err(|error| {
        // It answers about a unit that is not there, too.
        Unhealthy::Blind { program: argv[0].to_owned(), why: chain(&error) }
    })?;
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    match value("ActiveState") {
        "active" => Ok(format!("{} {}", value("SubState"), value("NRestarts"))),
        state => Err(Unhealthy::Fails(format!("it is {state} ({})", value("SubState")))),
    }
}
