//! A server of the echo service in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmap_rpc::server::Handlers;
use mmap_rpc::{Channel, Server, ServerBuilder};
use tempfile::TempDir;

use crate::child::{Child, Parent};
use crate::echo::{self, Service};
use crate::proto::EchoClient;
use crate::way;

/// The role that [`ServerProcess`] starts.
pub(crate) const ROLE: &str = "server";

/// Settings of a server in another process; 0 stands for the library's default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// Threads that run handlers; without any, handlers run inline.
    pub pool: usize,
    /// Threads that receive calls.
    pub reactors: usize,
    /// See [`ServerBuilder::max_message_size`].
    pub max_message_size: u64,
    /// See [`ServerBuilder::max_region_bytes`].
    pub max_region_bytes: u64,
    /// See [`ServerBuilder::max_in_flight`].
    pub max_in_flight: u32,
}

impl Setup {
    /// The same as settings of a server.
    pub fn builder(self) -> ServerBuilder {
        let mut builder = Server::builder();
        if self.pool > 0 {
            builder = builder.handlers(Handlers::Pool(self.pool));
        }
        if self.reactors > 0 {
            builder = builder.reactors(self.reactors);
        }
        if self.max_message_size > 0 {
            builder = builder.max_message_size(self.max_message_size);
        }
        if self.max_region_bytes > 0 {
            builder = builder.max_region_bytes(self.max_region_bytes);
        }
        if self.max_in_flight > 0 {
            builder = builder.max_in_flight(self.max_in_flight);
        }
        builder
    }

    fn encode(self) -> String {
        let Self { pool, reactors, max_message_size, max_region_bytes, max_in_flight } = self;
        format!("{pool} {reactors} {max_message_size} {max_region_bytes} {max_in_flight}")
    }

    fn decode(text: &str) -> Self {
        let numbers: Vec<u64> = text.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [pool, reactors, max_message_size, max_region_bytes, max_in_flight] = numbers[..] else {
            panic!("five numbers, not {text:?}")
        };
        Self {
            pool: pool as usize,
            reactors: reactors as usize,
            max_message_size,
            max_region_bytes,
            max_in_flight: max_in_flight as u32,
        }
    }
}

/// A process that serves. Killed on drop.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    path: PathBuf,
    /// `None` if the socket lies in somebody else's folder.
    _dir: Option<TempDir>,
}

impl ServerProcess {
    /// Starts one and waits until it listens, in a folder of its own.
    pub fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut server = Self::start_at(&dir.path().join("socket"), setup);
        server._dir = Some(dir);
        server
    }

    /// Starts one at a path and waits until it listens.
    pub fn start_at(path: &Path, setup: Setup) -> Self {
        let socket = path.to_str().expect("a path of ours");
        let child = Child::start(ROLE, &[("socket", socket), ("setup", &setup.encode())]);
        child.expect("listening");
        Self { child, path: path.to_owned(), _dir: None }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// A channel to it that goes the test's way, with default limits.
    pub fn channel(&self) -> Channel {
        way::connect(&self.path).expect("the server listens")
    }

    /// A client on a channel of its own.
    pub fn client(&self) -> EchoClient {
        EchoClient::new(self.channel())
    }

    /// Kills it at whatever instruction it is (SIGKILL), and returns at once.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}

/// What the process does.
pub(crate) fn role(parent: &Parent) {
    let setup = Setup::decode(&parent.argument("setup"));
    let path = PathBuf::from(parent.argument("socket"));
    let builder = echo::serve(way::allow_all(setup.builder(), &path), Arc::new(Service::default()));
    let server = builder.bind(path).expect("a free path");
    parent.say("listening");
    server.run().expect("the server runs until it is killed");
}
