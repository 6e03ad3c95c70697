//! The ways that calls can travel, and a table of tests that hold on each of them.

use std::cell::Cell;
use std::path::Path;

use mmap_rpc::{Backing, Channel, ChannelBuilder, ConnectError, Lane, ServerBuilder};

/// How the calls of a test travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Through rings.
    #[default]
    Ring,
    /// As frames on the socket, their messages in memory that both sides have mapped.
    Socket,
    /// As frames on the socket, their messages in a file.
    File,
}

impl Way {
    const NAMES: [(Self, &str); 3] = [(Self::Ring, "ring"), (Self::Socket, "socket"), (Self::File, "file")];

    /// What another process is told.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(way, _)| *way == self).map_or("", |(_, name)| name)
    }

    /// The way of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|&(way, _)| way)
    }
}

thread_local! {
    static WAY: Cell<Way> = const { Cell::new(Way::Ring) };
}

/// Runs a test whose channels, those that its own thread opens through this crate, go this way.
pub fn by<R>(way: Way, test: impl FnOnce() -> R) -> R {
    WAY.set(way);
    let outcome = test();
    WAY.set(Way::Ring);
    outcome
}

/// The way of the test that runs on this thread.
pub fn way() -> Way {
    WAY.get()
}

/// Settings of a channel that goes the way of the test.
pub fn channel_builder() -> ChannelBuilder {
    let builder = Channel::builder();
    match way() {
        Way::Ring => builder,
        Way::Socket => builder.lane(Lane::Socket),
        Way::File => builder.backing(Backing::File),
    }
}

/// A channel that goes the way of the test, with default limits.
///
/// # Errors
/// As [`Channel::connect`].
pub fn connect(path: impl AsRef<Path>) -> Result<Channel, ConnectError> {
    channel_builder().connect(path).wait()
}

/// Lets a server that listens at `path` serve every way.
pub fn allow_all(builder: ServerBuilder, path: &Path) -> ServerBuilder {
    builder.file_backing(path.with_extension("files"))
}

/// A table of tests that hold whichever way the calls travel, and, after `memory:`, of those for ways through
/// memory without a name. Each is a function without arguments, and becomes a test of each module.
#[macro_export]
macro_rules! on_every_way {
    ($($test:ident),+ $(,)? $(; memory: $($memory:ident),+ $(,)?)?) => {
        mod ring {
            $(#[test] fn $test() { $crate::by($crate::Way::Ring, super::$test); })+
            $($(#[test] fn $memory() { $crate::by($crate::Way::Ring, super::$memory); })+)?
        }
        mod socket {
            $(#[test] fn $test() { $crate::by($crate::Way::Socket, super::$test); })+
            $($(#[test] fn $memory() { $crate::by($crate::Way::Socket, super::$memory); })+)?
        }
        mod file {
            $(#[test] fn $test() { $crate::by($crate::Way::File, super::$test); })+
        }
    };
}
