//! A broker and a client of its management API.

#[path = "../amqp/harness/broker.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod broker;
#[path = "../amqp/harness/management.rs"]
mod management;

use std::ops::{Deref, DerefMut};

pub(crate) use broker::Broker;
pub(crate) use management::{Answer, Management};

/// A broker of the test's own, and its API as `guest`.
pub(crate) struct Served {
    pub(crate) broker: Broker,
    pub(crate) api: Management,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let broker = Broker::start_own(flags).expect("these tests start their brokers");
        let api = Management::new(broker.http);
        Self { broker, api }
    }

    /// kill -9, and start again on the same data.
    pub(crate) fn crash(&mut self) {
        self.broker.crash();
        self.api = Management::new(self.broker.http);
    }
}

impl Deref for Served {
    type Target = Management;

    fn deref(&self) -> &Management {
        &self.api
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Management {
        &mut self.api
    }
}

/// Checks the status of an answer and shows it if it is another.
#[track_caller]
pub(crate) fn check(answer: Answer, status: u16) -> Answer {
    assert_eq!(answer.status, status, "{answer:?}");
    answer
}

/// Checks that something was refused.
#[track_caller]
pub(crate) fn check_refused(answer: Answer, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.reason()), (status, reason), "{answer:?}");
}
