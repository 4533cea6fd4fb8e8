//! Showing and telling what passes come to.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use crate::cli::commands::pass::about;
use crate::cli::commands::show::remembered;
use crate::cli::exit::Exit;
use crate::cli::output::json::plan_document;
use crate::cli::session::{AT_ONCE, Session};
use crate::cli::{CliError, hints, mention};
use crate::controller::config::AgentConfig;
use crate::controller::drive::{News, Observer};
use crate::desired::DesiredState;
use crate::host::runtime::Runtime;
use crate::host::{Change as Host, Look, clock};
use crate::model::Plan;
use crate::model::ledger::Ledger;
use crate::model::outcome::{Outcome, chain};
use crate::model::window::Windows;
use crate::monitor::notify::{LAST_WORDS_TIME_MAX, Notifier, Notify, TELLING_TIME_MAX};
use crate::monitor::serve::{ServeError, serve_tcp, serve_unix, tcp, unix};
use crate::monitor::{Event, Pass, Reporter, Severity};
use crate::observe::observe;
use crate::reconcile::{Effects, Preview};
use crate::record::last_pass;
use crate::resource::observe::Depth;

/// Why a pass is made that somebody asks this program for.
pub(super) const TRIGGER: &str = "command";

/// The API's socket in the runtime directory.
const SOCKET: &str = "api.sock";

/// What is shown and told of the loop.
#[derive(Debug)]
pub(super) struct Shown {
    reporter: Reporter,
    notifier: Option<Notifier>,
}

impl Shown {
    /// Begins to listen, with nothing to show yet.
    pub(super) async fn start(
        session: &Session,
        config: &AgentConfig,
        runtime: &Runtime,
    ) -> Result<Self, CliError> {
        let failed = |error: ServeError| CliError::new(Exit::Config, chain(&error));
        let reporter = Reporter::new(session.common.metrics_file.clone());
        let socket = unix(&runtime.path(SOCKET)).map_err(failed)?;
        tokio::spawn(serve_unix(socket, reporter.feed()));
        if let Some(address) = config.listen.map(|listen| listen.0) {
            match tcp(address).await {
                Ok(listener) => {
                    tokio::spawn(serve_tcp(listener, reporter.feed()));
                    mention(&format!("status, metrics and a page are at http://{address}/"));
                }
                // Whoever has that port keeps nobody's host from being kept.
                Err(error @ ServeError::Listen { .. }) => tracing::warn!("{}", chain(&error)),
                Err(error) => return Err(failed(error)),
            }
        }
        let notify = told(session, &config.notify);
        let notifier =
            (notify != Notify::default()).then(|| Notifier::start(notify, session.host.hooks()));
        Ok(Self { reporter, notifier })
    }

    /// Takes the socket away, at which nobody listens any more.
    pub(super) fn unlisten(runtime: &Runtime) {
        let _ = runtime.remove(SOCKET);
    }

    /// Takes note of a pass that ended.
    pub(super) fn ended(&self, host: &Host, pass: &Ended<'_>) {
        self.tell(pass.report(host, &self.reporter));
    }

    /// Takes note of a pass that could not be made, and of how the host is all the same.
    pub(super) fn unmade(&self, pass: &Unmade<'_>) {
        self.tell(pass.report(&self.reporter, None));
    }

    fn tell(&self, events: Vec<Event>) {
        // What a pass did it says itself; what it could not do, and what is wrong with the wish, only events say.
        let quiet = |event: &&Event| event.resource.is_none() || event.reason == "Blocked";
        for event in events.iter().filter(quiet) {
            let about = event.resource.as_ref().map_or("host".to_owned(), ToString::to_string);
            let message = hints::message(&event.message);
            match event.severity {
                Severity::Warning => tracing::warn!("{about}: {}: {message}", event.reason),
                Severity::Normal => tracing::info!("{about}: {}: {message}", event.reason),
            }
        }
        if let Some(notifier) = &self.notifier {
            notifier.tell(events);
        }
    }
}

impl Shown {
    /// Writes down what was counted and is not written yet, which is lost where another pass is made just now, and tells
    /// what is still to be told.
    pub(super) async fn end(self, session: &Session) {
        if let Ok(host) = session.lock(AT_ONCE).await {
            self.reporter.finish(&host, clock::now());
        }
        if let Some(notifier) = self.notifier {
            notifier.finish(LAST_WORDS_TIME_MAX).await;
        }
    }
}

impl Observer for &Shown {
    fn told(&mut self, news: &News<'_>) {
        if let News::Waiting { until, .. } = news {
            self.reporter.waits(*until);
        }
    }
}

/// Who is told. A host below another directory is not this one: files are below it, and its configuration runs no
/// programs here and reaches nobody, unless restarts and hooks are to run.
fn told(session: &Session, notify: &Notify) -> Notify {
    let host = &session.host;
    let told = if host.is_live() || session.effects == Effects::Run {
        notify.clone()
    } else {
        Notify::default()
    };
    Notify { file: notify.file.as_ref().map(|file| host.real_followed(file)), ..told }
}

/// A pass that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    /// What it was made with.
    pub(super) session: &'a Session,
    /// The wish.
    pub(super) desired: &'a DesiredState,
    /// What was to be done.
    pub(super) preview: &'a Preview,
    /// What became of it.
    pub(super) outcome: &'a Outcome,
    /// When what is in use may be replaced on this host.
    pub(super) windows: &'a Windows,
    /// Why it was made.
    pub(super) trigger: &'a str,
    /// When it began.
    pub(super) began: Instant,
}

impl Ended<'_> {
    fn report(&self, host: &Host, reporter: &Reporter) -> Vec<Event> {
        let Self { session, desired, preview, outcome, windows, trigger, began } = *self;
        let about = about(session, desired, &preview.observed);
        let pass = Pass {
            desired,
            plan: plan_document(preview.plan.clone(), about),
            outcome,
            observed: &preview.observed,
            ledger: &preview.ledger,
            last: preview.last.as_ref(),
            windows,
            asked: &preview.asked,
            unmade: None,
            trigger,
            took: began.elapsed(),
            now: session.now,
        };
        reporter.ended(host, pass)
    }

    /// Shows and tells what a single pass came to, where anybody wants to know.
    pub(super) async fn tell(&self, host: &Host, notify: &Notify) {
        let file = self.session.common.metrics_file.clone();
        let notify = told(self.session, notify);
        if file.is_none() && notify == Notify::default() {
            return;
        }
        deliver_all(notify, host, self.report(host, &Reporter::new(file))).await;
    }
}

/// Tells what a single pass came to.
async fn deliver_all(notify: Notify, host: &Look, events: Vec<Event>) {
    let notifier = Notifier::start(notify, host.hooks());
    notifier.tell(events);
    notifier.finish(TELLING_TIME_MAX).await;
}

/// What is wished, as far as it is known where it cannot be read: what was valid last, or else nothing.
pub(super) fn last_known(session: &Session, error: &CliError) -> Option<DesiredState> {
    let last = session.last_wish().ok().flatten();
    let known = last.or_else(|| DesiredState::from_texts(Vec::new()).ok())?;
    Some(DesiredState { refused: error.refusal(), ..known })
}

/// Shows and tells that a single pass could not be made, where anybody wants to know; unless it was only asked to stop, or
/// another one is being made, or it was not asked for rightly.
pub(super) async fn tell_unmade(session: &Session, error: &CliError) {
    if matches!(error.exit(), Exit::Deferred | Exit::Locked | Exit::Usage) {
        return;
    }
    let file = session.common.metrics_file.clone();
    let agent = session.agent().map(|agent| (told(session, &agent.notify), agent.windows()));
    let (notify, windows) = agent.unwrap_or_default();
    if file.is_none() && notify == Notify::default() {
        return;
    }
    let Some(desired) = last_known(session, error) else { return };
    let invalid = error.refusal().map(|why| format!("the desired state is invalid ({why})"));
    let pass = Unmade {
        session,
        desired: &desired,
        windows: &windows,
        trigger: TRIGGER,
        began: session.began,
        now: session.now,
        why: invalid.as_deref().unwrap_or(error.message()),
    };
    // Where it can be noted, it is told once.
    let host = session.lock(AT_ONCE).await.ok();
    let events = pass.report(&Reporter::new(file), host.as_ref());
    deliver_all(notify, &session.host, events).await;
}

/// A pass that could not be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unmade<'a> {
    /// What it was to be made with.
    pub(super) session: &'a Session,
    /// The wish, as far as one is known.
    pub(super) desired: &'a DesiredState,
    /// When what is in use may be replaced on this host.
    pub(super) windows: &'a Windows,
    /// Why it was to be made.
    pub(super) trigger: &'a str,
    /// When it began.
    pub(super) began: Instant,
    /// The time.
    pub(super) now: Timestamp,
    /// Why it could not be made.
    pub(super) why: &'a str,
}

impl Unmade<'_> {
    /// What there is to tell; noted where the host is ours just now.
    fn report(&self, reporter: &Reporter, host: Option<&Host>) -> Vec<Event> {
        let Self { session, desired, windows, trigger, began, now, why } = *self;
        // What cannot be read at all is lost, too.
        let ledger = remembered(session, desired).unwrap_or_else(|error| Ledger {
            losses: vec![error.message().to_owned()],
            ..Ledger::default()
        });
        let observed = observe(desired, &ledger, &session.host, Depth::Quick);
        let last = last_pass::load(&session.host);
        let pass = Pass {
            desired,
            plan: plan_document(Plan::default(), about(session, desired, &observed)),
            outcome: &Outcome::default(),
            observed: &observed,
            ledger: &ledger,
            last: last.as_ref(),
            windows,
            asked: &BTreeMap::new(),
            unmade: Some(why),
            trigger,
            took: began.elapsed(),
            now,
        };
        match host {
            Some(host) => reporter.ended(host, pass),
            None => reporter.unmade(&session.host, pass),
        }
    }
}
