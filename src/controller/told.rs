//! What the loop tells about itself in the runtime directory, for `reconcile status`.

use jiff::Timestamp;

use crate::controller::drive::{News, Observer};
use crate::controller::machine::Wish;
use crate::controller::queue::Scope;
use crate::host::Look;
use crate::host::runtime::Runtime;
use crate::model::agent::AgentStatus;

/// The file's name in the runtime directory.
const NAME: &str = "agent.json";

/// Far more than it ever is, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Writes down each transition.
#[derive(Debug)]
pub struct Told<'a> {
    runtime: &'a Runtime,
    clock: fn() -> Timestamp,
    status: AgentStatus,
}

impl<'a> Told<'a> {
    /// Begins to write.
    pub fn new(runtime: &'a Runtime, clock: fn() -> Timestamp) -> Self {
        let status = AgentStatus {
            pid: std::process::id(),
            since: clock(),
            state: "waiting".to_owned(),
            next_pass_at: None,
            triggers: String::new(),
            last_pass_at: None,
            last_converged_at: None,
            exit: None,
            message: String::new(),
            unmade: None,
            invalid: None,
            misconfigured: None,
        };
        Self { runtime, clock, status }
    }
}

impl Observer for Told<'_> {
    fn told(&mut self, news: &News<'_>) {
        let status = &mut self.status;
        match news {
            News::Ready | News::Reloading => {}
            News::Began(order) => {
                "passing".clone_into(&mut status.state);
                status.triggers = order.why();
                status.next_pass_at = None;
            }
            News::Ended(order, done) => {
                if let Some((plan, outcome)) = &done.plan {
                    let now = Some((self.clock)());
                    status.last_pass_at = now;
                    if order.scope == Scope::All && outcome.converged(plan) {
                        status.last_converged_at = now;
                    }
                }
                status.unmade.clone_from(&done.unmade);
                status.exit = Some(done.exit);
                status.message.clone_from(&done.message);
                status.invalid = match &done.wish {
                    Wish::Valid(_) => None,
                    Wish::Invalid(why) => Some(why.clone()),
                };
                // What comes next is told at once.
                return;
            }
            News::Waiting { until, .. } => {
                "waiting".clone_into(&mut status.state);
                status.next_pass_at = Some(*until);
            }
            News::Reloaded(said) => status.misconfigured = said.as_ref().err().cloned(),
            News::Renewing => "renewing".clone_into(&mut status.state),
            News::Stopping => "stopping".clone_into(&mut status.state),
        }
        let bytes = serde_json::to_vec(status).unwrap_or_default();
        if let Err(error) = self.runtime.write(NAME, &bytes) {
            tracing::debug!(%error, "cannot say how the agent is");
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        // One that is left behind is told apart by its lock.
        let _ = self.runtime.remove(NAME);
    }
}

/// What the agent that keeps a host says about itself; `None` when there is none.
pub fn read(host: &Look) -> Option<AgentStatus> {
    if !Runtime::is_claimed(host) {
        return None;
    }
    let bytes = host.read(host.places().runtime.join(NAME), BYTES_MAX).ok()??;
    serde_json::from_slice(&bytes).ok()
}
