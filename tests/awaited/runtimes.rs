//! The runtimes that a test runs on.

use std::future::Future;
use std::sync::mpsc;
use std::thread;

use testkit::PATIENCE;
use tokio::runtime::Builder;

/// A kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One thread.
    One,
    /// One thread, and a clock that stands still, and jumps where nobody has anything to do.
    Paused,
    /// Two threads.
    Many,
}

/// All of them.
pub(crate) const ALL: [Kind; 3] = [Kind::One, Kind::Paused, Kind::Many];

impl Kind {
    /// Runs a test, which ends soon or fails.
    #[track_caller]
    pub(crate) fn run<F: Future>(self, test: F) -> F::Output {
        let runtime = match self {
            Self::One => Builder::new_current_thread().enable_all().build(),
            Self::Paused => Builder::new_current_thread().enable_all().start_paused(true).build(),
            Self::Many => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        };
        let runtime = runtime.expect("a runtime");
        watched(&format!("on {self:?}"), || runtime.block_on(test))
    }
}

/// Runs what ends soon, or ends the process.
pub(crate) fn watched<R>(what: &str, run: impl FnOnce() -> R) -> R {
    let (over, ended) = mpsc::channel::<()>();
    let what = what.to_owned();
    thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{what}: nothing has come of it within {PATIENCE:?}");
            std::process::abort();
        }
    });
    let outcome = run();
    drop(over);
    outcome
}

/// Runs a test on each.
#[track_caller]
pub(crate) fn on_every_runtime(test: impl AsyncFn()) {
    for kind in ALL {
        kind.run(test());
    }
}
