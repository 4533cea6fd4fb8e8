//! Health checks: what is looked at, and for how long.

use jiff::SignedDuration;

use crate::desired::document::{HealthDocument, HttpProbeDocument, OnFailureDocument};
use crate::desired::field::{Field, Short, Spanned};
use crate::desired::validate::{Checker, values};
use crate::model::{Check, Probe};

/// Longest time of any kind in a health check: a pass waits for it.
const TIME_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Shortest time between two looks.
const INTERVAL_MIN: SignedDuration = SignedDuration::from_millis(100);

impl Checker<'_> {
    /// The check, and whether to go back when it fails.
    pub(super) fn health(&self, health: &Spanned<HealthDocument>) -> Check {
        let HealthDocument { unit, exec, http, tcp, .. } = &health.value;
        let mut probes = Vec::new();
        probes.extend(self.optional(unit, "`health.unit`", values::unit).map(Probe::Unit));
        probes
            .extend(exec.good().and_then(|exec| self.argv(exec, "`health.exec`")).map(Probe::Exec));
        probes.extend(http.good().and_then(|http| self.http_probe(http)));
        probes.extend(self.optional(tcp, "`health.tcp`", address).map(Probe::Tcp));
        if [unit.is_absent(), exec.is_absent(), http.is_absent(), tcp.is_absent()] == [true; 4] {
            let why = "say what is looked at: `unit`, `exec`, `http` or `tcp`";
            self.refuse(health.span, "`health`", why);
        }
        let interval = self.time(&health.value.interval, "`health.interval`", 1_000);
        let stable = self.time(&health.value.stable, "`health.stable`", 10_000);
        let deadline = self.time(&health.value.deadline, "`health.deadline`", 60_000);
        let needed = stable.saturating_add(interval);
        if deadline < needed {
            self.too_short(health, (deadline, needed));
        }
        Check {
            probes,
            interval_ms: interval.max(100),
            stable_ms: stable,
            deadline_ms: deadline,
            rolls_back: !matches!(health.value.on_failure.value(), Some(OnFailureDocument::Report)),
        }
    }

    /// Refuses a deadline, in milliseconds, at the time of the three that was written.
    fn too_short(&self, health: &Spanned<HealthDocument>, (deadline, needed): (u64, u64)) {
        let HealthDocument { deadline: of_all, stable, interval, .. } = &health.value;
        let written = [(of_all, "`health.deadline`"), (stable, "`health.stable`")];
        let written = written.into_iter().chain([(interval, "`health.interval`")]);
        let mut written = written.filter_map(|(field, what)| Some((field.good()?.span, what)));
        let (span, what) = written.next().unwrap_or((health.span, "`health`"));
        let time = |ms: u64| format!("{:#}", SignedDuration::from_millis(ms.cast_signed()));
        let why = format!(
            "`deadline` is {} and must be at least {}: `stable` and one `interval` more; unless they are written, \
             `deadline` is 60s, `stable` 10s and `interval` 1s",
            time(deadline),
            time(needed)
        );
        self.refuse(span, what, why);
    }

    fn http_probe(&self, http: &Spanned<Short<HttpProbeDocument>>) -> Option<Probe> {
        let (url, status) = match &http.value {
            Short::Text(text) => (Spanned { span: http.span, value: text.clone() }, None),
            Short::Full(full) => {
                let url = self.required(&full.url, "`health.http.url`", http.span)?;
                (url.clone(), full.status.good())
            }
        };
        let status = match status.map(|s| (s, u16::try_from(s.value))) {
            None => 200,
            Some((_, Ok(status @ 100..600))) => status,
            Some((at, _)) => {
                self.refuse(at.span, "`health.http.status`", "write a number from 100 to 599");
                return None;
            }
        };
        let url = self.check(&url, "`health.http`", values::url)?;
        Some(Probe::Http { url, status })
    }

    /// A time in milliseconds.
    fn time(&self, field: &Field<String>, what: &str, default: u64) -> u64 {
        let time = self.optional(field, what, |text| {
            let time = values::duration(text)?;
            if time < INTERVAL_MIN || time > TIME_MAX {
                return Err("write a time from 100ms to 1h".to_owned());
            }
            Ok(time)
        });
        time.and_then(|time| u64::try_from(time.as_millis()).ok()).unwrap_or(default)
    }
}

/// `HOST:PORT`.
fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| {
        port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty())
    });
    match port {
        Some(_) if !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err("write `HOST:PORT`, such as `127.0.0.1:8080`".to_owned()),
    }
}
