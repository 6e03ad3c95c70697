//! What hostile tests look at: the log, this process's descriptors and memory, and an honest client beside.

#![allow(dead_code)]

use std::fmt::{Debug, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mmap_rpc::server::{Handlers, ShutdownHandle};
use mmap_rpc::{Channel, Method, Server, ServerBuilder, Status};
use tracing::field::{Field, Visit};
use tracing::span;

/// Longest wait for something that should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(5);

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ALONE: Mutex<()> = Mutex::new(());

/// Collects the text of every warning.
struct Collector;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Collector {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LOG.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Runs a test alone in this process, with an empty log: log, descriptors and memory belong to it.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static INSTALLED: Once = Once::new();
    INSTALLED
        .call_once(|| tracing::subscriber::set_global_default(Collector).expect("nobody else installs one"));
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    clear_log();
    guard
}

pub(crate) fn clear_log() {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

pub(crate) fn log() -> Vec<String> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Waits for a line of the log that holds all these texts, and returns it.
#[track_caller]
pub(crate) fn logged(texts: &[&str]) -> String {
    let found = || log().into_iter().find(|line| texts.iter().all(|text| line.contains(text)));
    let mut line = None;
    let came = eventually(|| {
        line = found();
        line.is_some()
    });
    assert!(came, "no line with {texts:?} in the log: {:#?}", log());
    line.unwrap_or_default()
}

/// Whether something holds within five seconds.
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + SOON;
    while !holds() {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// What a connection that is not closed properly would leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    /// Shared mappings of regions.
    pub(crate) mappings: usize,
}

pub(crate) fn holdings() -> Holdings {
    let maps = fs::read_to_string("/proc/self/maps").expect("procfs");
    let ours = |line: &&str| line.contains("memfd:mmap-rpc") || line.contains("memfd:forged");
    Holdings {
        // Less the one that reads the directory.
        descriptors: fs::read_dir("/proc/self/fd").expect("procfs").count() - 1,
        mappings: maps.lines().filter(ours).count(),
    }
}

/// Asserts that everything but what was there `before` has been given back.
#[track_caller]
pub(crate) fn nothing_left_since(before: Holdings) {
    let back = eventually(|| {
        let now = holdings();
        now.descriptors <= before.descriptors && now.mappings <= before.mappings
    });
    assert!(back, "before: {before:?}, now: {:?}", holdings());
}

/// Resident memory of this process in bytes, shared pages included.
pub(crate) fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("procfs");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("statm") * 4096
}

/// Number of [`Site`]'s method that answers with what it was sent.
pub(crate) const ECHO: u32 = 0;
/// Number of the method that keeps its request until [`Site::let_go`].
pub(crate) const HOLD: u32 = 1;
/// Number of the method that answers with 200 bytes.
pub(crate) const LONG: u32 = 2;

/// Method names of a [`Site`], by number.
pub(crate) const METHODS: [&str; 3] = ["/t.T/Echo", "/t.T/Hold", "/t.T/Long"];

/// A server that works, an honest client of it, and a path for others.
pub(crate) struct Site {
    pub(crate) path: PathBuf,
    honest: Option<(Channel, Method)>,
    held: Sender<()>,
    stop: ShutdownHandle,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Site {
    /// With handlers on the reactor.
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// With other settings.
    pub(crate) fn with(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let (held, holding): (Sender<()>, Receiver<()>) = channel();
        let holding = Arc::new(Mutex::new(holding));
        let server = settings(Server::builder())
            .raw(METHODS[0], |request, _| Ok(request.into_inner().to_vec().into()))
            .raw(METHODS[1], move |request, _| {
                // Ends when the site lets go, or when it goes itself.
                let _ = holding.lock().unwrap_or_else(PoisonError::into_inner).recv();
                drop(request);
                Ok(Vec::new().into())
            })
            .raw(METHODS[2], |_, _| Ok(vec![7; 200].into()))
            .bind(&path)
            .expect("a fresh path");
        let stop = server.shutdown_handle();
        let thread = Some(std::thread::spawn(move || server.run().expect("the server runs to its end")));
        let channel = Channel::connect(&path).wait().expect("an honest client is let in");
        let echo = channel.method(METHODS[0]);
        let site = Self { path, honest: Some((channel, echo)), held, stop, thread, _dir: dir };
        // Until its regions have grown to what such calls need: a test counts mappings.
        (0..100).for_each(|_| site.honest_client_is_served());
        site
    }

    /// Two calls of the honest client, one inside its entry and one through a slot, get what they should.
    #[track_caller]
    pub(crate) fn honest_client_is_served(&self) {
        let (channel, echo) = self.honest.as_ref().expect("until the end");
        for len in [10, 5000] {
            let message: Vec<u8> = (0..len).map(|at| at as u8 ^ 0x5a).collect();
            let reply = channel.raw(echo, &message).timeout(SOON).wait();
            assert_eq!(reply.expect("an honest call is answered").to_vec(), message);
        }
    }

    pub(crate) fn honest_channel(&self) -> &Channel {
        &self.honest.as_ref().expect("until the end").0
    }

    /// Ends one call of [`HOLD`].
    pub(crate) fn let_go(&self) {
        self.held.send(()).expect("the server lives");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.honest = None;
        self.stop.shutdown();
        let ended = self.thread.take().expect("joined once").join();
        if !std::thread::panicking() {
            ended.expect("no thread of the server panics");
        }
    }
}

/// Handlers that may block.
pub(crate) fn pool(builder: ServerBuilder) -> ServerBuilder {
    builder.handlers(Handlers::Pool(2))
}

/// One echo call that has to fail, soon.
#[track_caller]
pub(crate) fn failing_call(channel: &Channel) -> Status {
    let start = Instant::now();
    let echo = channel.method(METHODS[0]);
    let outcome = channel.raw(&echo, b"anybody there?").timeout(SOON).wait();
    assert!(start.elapsed() < SOON + Duration::from_secs(1), "a call outlived its deadline");
    outcome.expect_err("a hostile server does not answer properly")
}

pub(crate) fn path_in(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("socket")
}

/// Lets a real channel come to a hostile server.
pub(crate) fn visit_by_channel<T>(
    path: &Path,
    connect: impl FnOnce(&Path) -> T + Send,
    host: impl FnOnce() + Send,
) -> T
where
    T: Send,
{
    std::thread::scope(|scope| {
        let hosting = scope.spawn(host);
        let outcome = connect(path);
        hosting.join().expect("the host plays its part");
        outcome
    })
}
