//! The loop as a program: what a pass is, where signals come from, and how one asks for a pass.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::apply::Stop;
use crate::apply::rounds::Gathering;
use crate::cli::args::{Format, PassArgs, RunArgs, WindowsArg};
use crate::cli::commands::pass;
use crate::cli::commands::show::effective;
use crate::cli::commands::shown::{self, Ended, Shown, Unmade};
use crate::cli::commands::wishes::{Read, Wishes};
use crate::cli::exit::{self, Exit};
use crate::cli::named::Named;
use crate::cli::output::{report, text};
use crate::cli::session::{PATIENCE, Session, Texts};
use crate::cli::{CliError, hints, mention, say};
use crate::controller::backoff::Dice;
use crate::controller::config::{AgentConfig, Listen};
use crate::controller::control::{self, Question, ask};
use crate::controller::drive::{Done, Drive, End, HEARD_MAX, Hands, Heard, Observer};
use crate::controller::machine::{Controller, Policy, Wish};
use crate::controller::notify::Systemd;
use crate::controller::queue::{Order, Scope};
use crate::controller::told::Told;
use crate::controller::watch::watch;
use crate::desired::DesiredState;
use crate::fetch::NoProgress;
use crate::host::renew::Program;
use crate::host::runtime::{Runtime, RuntimeError};
use crate::host::{clock, memory};
use crate::model::outcome::{Outcome, chain};
use crate::model::window::Windows;
use crate::model::{Attribution, Digest, Plan, ResourceId};
use crate::plan::hold::{Holds, wish_of};
use crate::reconcile::{self, Hands as PassHands, Request};
use crate::record::last_wish::Kept;

/// Tries of one request in a pass of the loop. What still fails is tried again for its resource alone, with waits that
/// grow: a fleet that waits in the middle of its passes would come back together with the server.
const TRIES: usize = 2;

/// How long an agent may take to hear that something was decided: it will see that in its next pass anyway.
const POKE_TIME_MAX: Duration = Duration::from_secs(2);

/// A machine's identity is 33 bytes.
const IDENTITY_BYTES_MAX: u64 = 4096;

/// Keeps the host as desired until it is told to stop.
pub(super) async fn run(
    session: &Session,
    args: &RunArgs,
    pass: &PassArgs,
) -> Result<Exit, CliError> {
    memory::keep_little();
    let config = with_flags(session.agent()?.clone(), args);
    let runtime = Runtime::claim(&session.host).map_err(|error| {
        let exit = match error {
            RuntimeError::Taken { .. } => Exit::Locked,
            RuntimeError::Unwritable { .. } => Exit::CannotWrite,
        };
        CliError::new(exit, chain(&error))
    })?;
    let program = Program::own().map_err(|e| CliError::io(&e))?;
    let (mouth, ears) = mpsc::channel(HEARD_MAX);
    listen_for_signals(&mouth)?;
    let asking = control::listen(&runtime, mouth.clone())
        .map_err(|e| CliError::new(Exit::CannotWrite, chain(&e)))?;
    if config.watch.0 && session.repository()?.is_none() {
        let paths = session.desired_paths()?.into_iter().map(Into::into).collect();
        if let Err(error) = watch(paths, move || mouth.blocking_send(Heard::Touched).is_ok()) {
            tracing::warn!(%error, "cannot watch the desired state; it is read on schedule");
        }
    }
    let shown = Shown::start(session, &config, &runtime).await?;
    let keeper = Keeper {
        session,
        shown: &shown,
        args,
        pass,
        config: RefCell::new(config),
        wishes: Wishes::new(session),
        kept: RefCell::default(),
        carried: RefCell::new(None),
    };
    let now = clock::now();
    // Hosts that were started together must not roll alike.
    let seed = now
        .as_nanosecond()
        .to_le_bytes()
        .iter()
        .chain(&keeper.identity())
        .fold(0_u64, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte));
    let mut controller = Controller::new(keeper.policy(), Dice::new(seed), now);
    if session.is_renewed() {
        controller = controller.renewed(now);
    }
    let observers: Vec<Box<dyn Observer + '_>> =
        vec![Box::new(Systemd), Box::new(Told::new(&runtime, clock::now)), Box::new(&shown)];
    let end = Drive::new(&keeper, controller, ears, observers).run().await;
    asking.end().await;
    drop(keeper);
    shown.end(session).await;
    match end {
        End::Stopped => {
            let _ = runtime.remove(control::SOCKET);
            Shown::unlisten(&runtime);
            Ok(Exit::Ok)
        }
        End::Renewed => {
            tracing::info!("going on as the program that replaced this one");
            let why =
                format!("cannot start the program that replaced this one: {}", program.go_on());
            Err(CliError::new(Exit::Failed, why))
        }
    }
}

/// What the command line says stands above the configuration.
fn with_flags(mut config: AgentConfig, args: &RunArgs) -> AgentConfig {
    if let Some(interval) = args.interval {
        config.interval = interval;
    }
    if let Some(sources) = args.sources {
        config.sources = sources;
    }
    if let Some(watch) = args.watch {
        config.watch.0 = watch;
    }
    config.listen = args.listen.map(Listen).or(config.listen);
    config
}

fn listen_for_signals(mouth: &mpsc::Sender<Heard>) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| CliError::io(&e));
    let mut reload = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mouth = mouth.clone();
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                _ = reload.recv() => Heard::Reload,
                _ = terminate.recv() => Heard::Stop,
                _ = interrupt.recv() => Heard::Stop,
            };
            if mouth.send(heard).await.is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Asks the running agent for a pass.
pub(super) async fn request(session: &Session, question: &Question) -> Result<Exit, CliError> {
    let runtime = session.host.real_followed(&session.host.places().runtime);
    let answer = ask(&runtime, question)
        .await
        .map_err(|error| CliError::new(Exit::Unavailable, chain(&error)))?;
    say(&format!("{}\n", answer.message));
    Ok(Exit::of_code(answer.exit))
}

/// The resources that the agent is asked about.
pub(super) async fn asked_about(session: &Session) -> Result<Vec<ResourceId>, CliError> {
    let mut only = Vec::new();
    for named in &session.common.only {
        only.push(match named {
            // The agent may be about to read of one that is new.
            Named::Id(id) => id.clone(),
            Named::Name(_) => session.find(named, &effective(session).await?.0)?,
        });
    }
    Ok(only)
}

/// Whether a running agent makes a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poked {
    /// It does.
    Yes,
    /// None runs, or none that answers.
    NoAgent,
}

/// Has the running agent, if there is one, make a pass over a resource that something was decided about, so that
/// everybody who looks at the agent sees it.
pub(super) async fn poke(session: &Session, id: &ResourceId) -> Poked {
    if !Runtime::is_claimed(&session.host) {
        return Poked::NoAgent;
    }
    let wish = session.last_wish().ok().flatten();
    let wished = wish.is_some_and(|desired| desired.resources.contains_key(id));
    let only = if wished { vec![id.clone()] } else { Vec::new() };
    let runtime = session.host.real_followed(&session.host.places().runtime);
    let question = Question { only, wait: false };
    match tokio::time::timeout(POKE_TIME_MAX, ask(&runtime, &question)).await {
        Ok(Ok(_)) => Poked::Yes,
        _ => Poked::NoAgent,
    }
}

/// What makes the passes of the loop.
struct Keeper<'a> {
    session: &'a Session,
    shown: &'a Shown,
    args: &'a RunArgs,
    pass: &'a PassArgs,
    config: RefCell<AgentConfig>,
    wishes: Wishes<'a>,
    /// The copy of the last valid wish, as this process has left it.
    kept: RefCell<Kept>,
    /// What the pass carries out that is being made.
    carried: RefCell<Option<Wish>>,
}

impl Keeper<'_> {
    /// What makes this host another one than the next: its machine id, or its name where it has none.
    fn identity(&self) -> Vec<u8> {
        let id = self.session.host.read("/etc/machine-id", IDENTITY_BYTES_MAX).ok().flatten();
        let id = id.filter(|id| !id.trim_ascii().is_empty());
        id.unwrap_or_else(|| crate::host::facts::observe(&self.session.host).hostname.into_bytes())
    }

    fn policy(&self) -> Policy {
        let policy = self.config.borrow().policy(&self.identity());
        Policy { windows: self.windows(), ..policy }
    }

    /// When what is in use may be replaced.
    fn windows(&self) -> Windows {
        match self.pass.windows {
            WindowsArg::Keep => self.config.borrow().windows(),
            WindowsArg::Ignore => Windows::default(),
        }
    }

    /// Says that a pass could not be made, and why, to everybody; unless it was only asked to stop, or another one is
    /// being made.
    fn unmade(
        &self,
        desired: Option<&DesiredState>,
        error: &CliError,
        (order, began): (&Order, Instant),
    ) -> Option<String> {
        let message = hints::message(error.message());
        match error.exit() {
            Exit::Deferred => tracing::info!("{message}"),
            _ => tracing::error!("{message}"),
        }
        if matches!(error.exit(), Exit::Deferred | Exit::Locked) {
            return None;
        }
        self.show_unmade(desired, error, (order, began));
        Some(error.message().to_owned())
    }

    /// Shows that a pass could not be made, and how the host is by what is known of a wish.
    fn show_unmade(
        &self,
        desired: Option<&DesiredState>,
        error: &CliError,
        (order, began): (&Order, Instant),
    ) {
        let (session, windows, now) = (self.session, &self.windows(), clock::now());
        let known = if desired.is_none() { shown::last_known(session, error) } else { None };
        let Some(desired) = desired.or(known.as_ref()) else { return };
        let (trigger, why) = (trigger_of(order), error.message());
        self.shown.unmade(&Unmade { session, desired, windows, trigger, began, now, why });
    }

    /// Makes one pass over a wish.
    async fn make(
        &self,
        desired: &DesiredState,
        texts: Option<&Texts>,
        (order, holds, stop): (&Order, &Holds, &Stop),
    ) -> Result<(Plan, Outcome), CliError> {
        let began = Instant::now();
        let mut session = self.session.clone();
        session.now = clock::now();
        session.backoff.tries = TRIES;
        let client = session.client(desired);
        let host = session.lock(PATIENCE).await?;
        if let Some(texts) = texts {
            let mut kept = self.kept.borrow_mut();
            session.keep_texts(&host, texts, &mut kept);
        }
        let only = match &order.scope {
            Scope::All => None,
            Scope::Only(ids) => Some(ids),
        };
        let fresh =
            if order.asks_afresh() { SignedDuration::ZERO } else { self.config.borrow().sources.0 };
        // What the loop knows of windows and fights it knew before the wish was read.
        let windows = self.windows();
        let holds = &holds.of(desired, &windows, session.now);
        let request =
            Request { only, max_age: fresh, ..session.request(desired, holds, self.pass) };
        let mut preview = tokio::select! {
            preview = reconcile::preview(&request, host.look(), &client) => {
                preview.map_err(|e| CliError::io(&e))?
            }
            () = stop.wait_for_end() => {
                return Err(pass::stopped());
            }
        };
        tracing::info!(why = order.why(), requests = preview.requests, "planned");
        if !preview.plan.is_empty() && session.common.output != Format::Json {
            let about = pass::about(&session, desired, &preview.observed);
            say(&text::plan(&preview.plan, &about));
        }
        let (client, progress, clock) = (&client, &NoProgress, &clock::now);
        let hands = PassHands { client, progress, stop, clock, gathering: Gathering::default() };
        let outcome = reconcile::perform(&request, &mut preview, &host, hands).await;
        let outcome = outcome.map_err(|e| CliError::io(&e))?;
        self.shown.ended(
            &host,
            &Ended {
                session: &session,
                desired,
                preview: &preview,
                outcome: &outcome,
                windows: &windows,
                trigger: trigger_of(order),
                began,
            },
        );
        if !preview.plan.is_empty() {
            say(&report::outcome(&preview.plan, &outcome));
        }
        Ok((preview.plan, outcome))
    }
}

impl Hands for Keeper<'_> {
    async fn pass(&self, order: &Order, holds: &Holds, stop: &Stop) -> Done {
        let began = Instant::now();
        self.carried.replace(None);
        let read = tokio::select! {
            read = self.wishes.read() => read,
            () = stop.wait_for_end() => Err(pass::stopped()),
        };
        let Read { wish, desired, texts } = match read {
            Ok(read) => read,
            Err(error) => {
                let unmade = self.unmade(None, &error, (order, began));
                let (exit, message) = (error.exit().code(), error.message().to_owned());
                return Done { exit, message, unmade, ..Done::nothing(self.wishes.now()) };
            }
        };
        let Some(desired) = desired else {
            let message = sentence_of(&wish, "there is no valid one from before");
            // What is wrong with it was told when it was read.
            let error = CliError::new(Exit::Invalid, message.clone());
            self.show_unmade(None, &error, (order, began));
            let (exit, unmade) = (Exit::Invalid.code(), Some(message.clone()));
            return Done { exit, message, unmade, ..Done::nothing(wish) };
        };
        self.carried.replace(Some(wish.clone()));
        let unknown = unknown(&order.scope, &desired);
        let made = self.make(&desired, texts.as_ref(), (order, holds, stop)).await;
        let (plan, mut exit, mut message, unmade) = match made {
            Ok((plan, outcome)) => {
                let (exit, message) =
                    (exit::of_pass(&plan, &outcome), report::sentence(&plan, &outcome));
                (Some((plan, outcome)), exit, message, None)
            }
            Err(error) => {
                let unmade = self.unmade(Some(&desired), &error, (order, began));
                (None, error.exit(), error.message().to_owned(), unmade)
            }
        };
        exit = exit.or(exit::of_wish(&desired));
        if let Some(trouble) = desired.revision.as_ref().and_then(|r| r.trouble.as_ref()) {
            message = format!("{}; {message}", trouble.message);
        }
        if matches!(wish, Wish::Invalid(_)) {
            exit = exit.or(Exit::Invalid);
            message =
                format!("{}; {message}", sentence_of(&wish, "the last valid one stays in effect"));
        }
        if let Some(id) = unknown {
            exit = exit.or(Exit::Usage);
            message = format!("{id} is not in the desired state; {message}");
        }
        let every = desired.resources.iter();
        let every = every.filter_map(|(id, declared)| Some((id.clone(), declared.pace.every?)));
        let (every, wishes) = (every.collect(), wishes(&desired, plan.as_ref()));
        Done { plan, wish, every, wishes, exit: exit.code(), message, unmade }
    }

    fn wish(&self) -> Wish {
        self.wishes.now()
    }

    fn carries(&self) -> Option<Wish> {
        self.carried.borrow().clone()
    }

    fn reload(&self) -> Result<Policy, String> {
        let config = AgentConfig::load(&self.session.host, self.session.common.config.as_ref());
        let config = config.map_err(|error| chain(&error))?;
        let config = with_flags(config, self.args);
        let started = self.session.agent().map(|config| with_flags(config.clone(), self.args));
        let late = started.map(|started| started.only_at_start(&config)).unwrap_or_default();
        self.config.replace(config);
        mention("the agent's configuration was read again");
        if !late.is_empty() {
            let late = late.join(", ");
            tracing::warn!("restart the agent for what the configuration says now about: {late}");
        }
        Ok(self.policy())
    }

    fn rest(&self) {
        memory::give_back();
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }
}

/// What is wished of the resources that were corrected.
fn wishes(desired: &DesiredState, made: Option<&(Plan, Outcome)>) -> BTreeMap<ResourceId, Digest> {
    let changes = made.into_iter().flat_map(|(plan, _)| &plan.changes);
    let corrected = changes.filter(|c| c.attribution == Attribution::DriftCorrected);
    let wish = |id: &ResourceId| Some((id.clone(), wish_of(desired, id)?));
    corrected.filter_map(|change| wish(&change.resource)).collect()
}

/// Why a pass is made, in one of few words.
fn trigger_of(order: &Order) -> &'static str {
    order.triggers.first().map_or("schedule", |trigger| trigger.name())
}

fn sentence_of(wish: &Wish, then: &str) -> String {
    match wish {
        Wish::Valid(_) => String::new(),
        Wish::Invalid(why) => format!("the desired state is invalid ({why}); {then}"),
    }
}

/// The first resource that was asked for and that nobody knows.
fn unknown<'o>(scope: &'o Scope, desired: &DesiredState) -> Option<&'o ResourceId> {
    match scope {
        Scope::All => None,
        Scope::Only(ids) => ids.iter().find(|id| !desired.resources.contains_key(id)),
    }
}
