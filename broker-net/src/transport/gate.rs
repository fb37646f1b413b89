//! How many connections a shard has that are not open yet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::future::poll_fn;

/// Counts the connections of a shard that have not logged in yet.
#[derive(Debug, Default)]
pub(super) struct Gate {
    passes: Cell<usize>,
    /// Listeners that wait for room.
    waiting: RefCell<Vec<Waker>>,
}

/// Stands for one such connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Pass(Rc<Gate>);

impl Gate {
    /// Waits until there are fewer than `most`, which may change meanwhile.
    pub(super) async fn room(&self, most: impl Fn() -> usize) {
        poll_fn(|context| {
            if self.passes.get() < most() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Counts a connection.
    pub(super) fn enter(self: &Rc<Self>) -> Pass {
        self.passes.set(self.passes.get() + 1);
        Pass(Rc::clone(self))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.passes.set(self.0.passes.get().saturating_sub(1));
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn there_is_room_when_a_pass_is_given_back() {
        let gate = Rc::new(Gate::default());
        let (first, _second) = (gate.enter(), gate.enter());
        let mut room = std::pin::pin!(gate.room(|| 2));
        assert_eq!(block_on(poll_once(room.as_mut())), None);
        drop(first);
        assert_eq!(block_on(poll_once(room.as_mut())), Some(()));
    }
}
