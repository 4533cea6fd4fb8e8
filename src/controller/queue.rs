//! What asks for a pass: triggers coalesce into one order.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::ResourceId;

/// Why a pass is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The agent came up.
    Start,
    /// The desired state is another than before.
    Desired,
    /// An operator asked for it.
    Request,
    /// SIGHUP.
    Signal,
    /// Something failed and is tried again.
    Retry,
    /// What something waited for has come: a window, an age, the end of a refusal.
    Until,
    /// It was time for a resource that has a rhythm of its own.
    Every,
    /// It was time.
    Schedule,
}

impl Trigger {
    /// The name in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Desired => "desired",
            Self::Request => "request",
            Self::Signal => "signal",
            Self::Retry => "retry",
            Self::Until => "until",
            Self::Every => "every",
            Self::Schedule => "schedule",
        }
    }

    /// Whether a person stands behind it: then nothing is too hopeless to be tried again.
    pub fn is_personal(self) -> bool {
        matches!(self, Self::Request | Self::Signal)
    }
}

/// Which resources a pass is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, removals included.
    All,
    /// Only these.
    Only(BTreeSet<ResourceId>),
}

impl Scope {
    /// Whether a resource is meant.
    pub fn has(&self, id: &ResourceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(mut one), Self::Only(other)) => {
                one.extend(other);
                Self::Only(one)
            }
            _ => Self::All,
        }
    }
}

/// Names a request whose sender waits for the answer.
pub type Ticket = u64;

/// One pass to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Everything that asked for it.
    pub triggers: BTreeSet<Trigger>,
    /// What it is about.
    pub scope: Scope,
    /// Who waits for it.
    pub tickets: Vec<Ticket>,
}

impl Order {
    /// Whether sources are asked however young their last answer is.
    pub fn asks_afresh(&self) -> bool {
        let patient = |trigger: &Trigger| {
            matches!(trigger, Trigger::Schedule | Trigger::Every | Trigger::Until)
        };
        !self.triggers.iter().all(patient)
    }

    /// Whether a person asked for it.
    pub fn is_personal(&self) -> bool {
        self.triggers.iter().any(|trigger| trigger.is_personal())
    }

    /// What asked for it: `desired, request`.
    pub fn why(&self) -> String {
        let names: Vec<&str> = self.triggers.iter().map(|trigger| trigger.name()).collect();
        names.join(", ")
    }
}

/// The one order that is waiting, if any: whatever comes before it is taken becomes a part of it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: Option<(Timestamp, Order)>,
}

impl Queue {
    /// Asks for a pass at `due` or before.
    pub fn push(&mut self, due: Timestamp, trigger: Trigger, scope: Scope, ticket: Option<Ticket>) {
        let new = Order {
            triggers: BTreeSet::from([trigger]),
            scope,
            tickets: ticket.into_iter().collect(),
        };
        self.waiting = Some(match self.waiting.take() {
            None => (due, new),
            Some((earlier, mut order)) => {
                order.triggers.extend(new.triggers);
                order.scope = order.scope.and(new.scope);
                order.tickets.extend(new.tickets);
                (earlier.min(due), order)
            }
        });
    }

    /// When the order that waits is due.
    pub fn due(&self) -> Option<Timestamp> {
        self.waiting.as_ref().map(|(due, _)| *due)
    }

    /// Takes the order if it is due.
    pub fn take(&mut self, now: Timestamp) -> Option<Order> {
        let (_, order) = self.waiting.take_if(|(due, _)| *due <= now)?;
        Some(order)
    }
}
