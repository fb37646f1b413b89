//! The thread that commits the catalog: a commit blocks, and shards must not.

use std::io;
use std::thread;

use broker_store::doorbell::Doorbell;
use broker_store::{Catalog, Change};

/// Asked of the thread.
#[derive(Debug)]
enum Request {
    Commit(Vec<Change>),
    /// The channel does not close by itself: tasks that hold a sender outlive their executor.
    Stop,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Committer {
    requests: flume::Sender<Request>,
    thread: thread::JoinHandle<()>,
}

/// The registrar's ends of the channels to and from the thread.
#[derive(Debug)]
pub(super) struct CommitterEnds {
    requests: flume::Sender<Request>,
    /// The result of each commit, in order; the registrar's doorbell is rung for each.
    pub results: flume::Receiver<Result<(), String>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(catalog: Catalog, registrar: Doorbell) -> io::Result<(Self, CommitterEnds)> {
        let (requests, todo) = flume::unbounded();
        let (done, results) = flume::unbounded();
        let thread = thread::Builder::new()
            .name("ringmq-catalog".to_owned())
            .spawn(move || run(&catalog, &todo, &done, &registrar))?;
        let ends = CommitterEnds { requests: requests.clone(), results };
        Ok((Self { requests, thread }, ends))
    }

    /// Ends the thread after what it was asked before.
    pub(super) fn stop(self) {
        let _ = self.requests.send(Request::Stop);
        let _ = self.thread.join();
    }
}

impl CommitterEnds {
    /// Asks for a commit in one transaction.
    pub(super) fn commit(&self, rows: Vec<Change>) {
        // The thread ends only when the shards have.
        let _ = self.requests.send(Request::Commit(rows));
    }
}

fn run(
    catalog: &Catalog,
    requests: &flume::Receiver<Request>,
    done: &flume::Sender<Result<(), String>>,
    registrar: &Doorbell,
) {
    while let Ok(Request::Commit(rows)) = requests.recv() {
        let result = catalog.commit(&rows).map_err(|error| error.to_string());
        if let Err(reason) = &result {
            tracing::error!(reason, "the catalog has failed; definitions cannot be changed until a restart");
        }
        if done.send(result).is_err() {
            return;
        }
        registrar.ring();
    }
}
