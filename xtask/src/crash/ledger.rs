//! What is known of every message published to one queue, and the judgement over what the queue gives back.

use std::fmt;

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Sent; the broker may have it or not.
    Published,
    /// The broker said that it has it.
    Confirmed,
    /// Acknowledged since the last start of the broker: a crash may bring it back, for an acknowledgement alone is
    /// not synced.
    Acked,
    /// Acknowledged before, or missing after a crash: never to be seen again.
    Gone,
}

/// Sequence numbers start at 0, and each is published once.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    messages: Vec<State>,
}

/// What a queue gave back that it must not, or did not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// A confirmed message is missing.
    Lost(u64),
    /// A message came after one that was published later.
    Disordered { after: u64, found: u64 },
    /// A message that had gone is back.
    Returned(u64),
    /// A message that nobody published.
    Unknown(u64),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(sequence) => write!(f, "message {sequence} was confirmed and is lost"),
            Self::Disordered { after, found } => write!(f, "message {found} came after {after}"),
            Self::Returned(sequence) => write!(f, "message {sequence} was gone and is back"),
            Self::Unknown(sequence) => write!(f, "message {sequence} was never published"),
        }
    }
}

/// Figures of one [`Ledger::judge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Messages in the queue.
    pub(super) messages: u64,
    /// Those of them that had been acknowledged just before the crash.
    pub(super) acked_again: u64,
    /// Those of them whose confirm the publisher had not seen.
    pub(super) unconfirmed: u64,
}

impl Ledger {
    /// Notes that the next message is being sent; returns its sequence number.
    pub(super) fn publish(&mut self) -> u64 {
        self.messages.push(State::Published);
        self.messages.len() as u64 - 1
    }

    /// Notes a confirm.
    pub(super) fn confirm(&mut self, sequence: u64) {
        // A consumer may have acknowledged it already.
        if let Some(state @ State::Published) = self.state(sequence) {
            *state = State::Confirmed;
        }
    }

    /// Notes that the acknowledgement of a message is being sent.
    pub(super) fn ack(&mut self, sequence: u64) {
        if let Some(state) = self.state(sequence) {
            *state = State::Acked;
        }
    }

    /// Judges the whole content of the queue after a crash, in the order in which it was delivered.
    /// From then on what was not there is gone, and what was there has to stay until it is acknowledged.
    pub(super) fn judge(&mut self, content: &[u64]) -> Result<Found, Violation> {
        if let Some(pair) = content.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Violation::Disordered { after: pair[0], found: pair[1] });
        }
        let mut found = Found { messages: content.len() as u64, ..Found::default() };
        let mut expected = 0;
        for &sequence in content {
            self.miss(expected..sequence)?;
            expected = sequence + 1;
            let state = self.state(sequence).ok_or(Violation::Unknown(sequence))?;
            match *state {
                State::Gone => return Err(Violation::Returned(sequence)),
                State::Acked => found.acked_again += 1,
                State::Published => found.unconfirmed += 1,
                State::Confirmed => {}
            }
            *state = State::Confirmed;
        }
        self.miss(expected..self.messages.len() as u64)?;
        Ok(found)
    }

    /// These are not in the queue.
    fn miss(&mut self, sequences: std::ops::Range<u64>) -> Result<(), Violation> {
        for sequence in sequences {
            match self.state(sequence) {
                None => return Err(Violation::Unknown(sequence)),
                Some(State::Confirmed) => return Err(Violation::Lost(sequence)),
                Some(state) => *state = State::Gone,
            }
        }
        Ok(())
    }

    fn state(&mut self, sequence: u64) -> Option<&mut State> {
        usize::try_from(sequence).ok().and_then(|index| self.messages.get_mut(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger of 6 messages: 0 acknowledged, 1 and 2 confirmed, the others only published.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for _ in 0..6 {
            ledger.publish();
        }
        for sequence in 0..3 {
            ledger.confirm(sequence);
        }
        ledger.ack(0);
        ledger
    }

    #[track_caller]
    fn check(content: &[u64], expect: Result<Found, Violation>) {
        assert_eq!(ledger().judge(content), expect);
    }

    #[test]
    fn what_was_confirmed_has_to_be_there_and_what_was_published_may_be() {
        let found = Found { messages: 2, ..Found::default() };
        check(&[1, 2], Ok(found));
        check(&[1, 2, 4], Ok(Found { messages: 3, unconfirmed: 1, ..found }));
        check(&[1], Err(Violation::Lost(2)));
        check(&[2], Err(Violation::Lost(1)));
        check(&[], Err(Violation::Lost(1)));
    }

    #[test]
    fn order_has_to_be_kept() {
        check(&[2, 1], Err(Violation::Disordered { after: 2, found: 1 }));
        check(&[1, 2, 2], Err(Violation::Disordered { after: 2, found: 2 }));
    }

    #[test]
    fn what_was_acknowledged_may_come_back_once() {
        let found = Found { messages: 3, acked_again: 1, unconfirmed: 0 };
        check(&[0, 1, 2], Ok(found));
    }

    #[test]
    fn nobody_invents_messages() {
        check(&[1, 2, 6], Err(Violation::Unknown(6)));
    }

    #[test]
    fn a_second_crash_changes_nothing() {
        let mut ledger = ledger();
        ledger.judge(&[1, 2, 4]).unwrap();
        assert_eq!(ledger.judge(&[1, 2]), Err(Violation::Lost(4)));
        let mut ledger = self::ledger();
        ledger.judge(&[1, 2, 4]).unwrap();
        assert_eq!(ledger.judge(&[1, 2, 3, 4]), Err(Violation::Returned(3)));
    }
}
