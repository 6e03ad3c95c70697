//! Clients of the classic protocol: see `wire/classic.rs` for its words.
//!
//! ```text
//!   socket ──frame──► ClassicConnection ──► handler ──► ClassicPeer ──frame──► socket
//!                          │ pread                          │ pwrite
//!                          └────── file, from byte 0 on ────┘
//! ```
//!
//! Each connection has a file of its own, which the client maps. Request and reply lie at its beginning, one
//! after the other, so there is one call at a time: while it is served, the socket is not read.
//!
//! The client can write and truncate the file at any time. It is therefore read once, with `pread`, into
//! private memory, and never mapped: a truncated file is a short read, not a SIGBUS. A client that changes
//! the file while it is read harms its own request only.
//!
//! A connection belongs to its socket: its id, which is random, is honoured from there alone, and its file
//! goes with the farewell, with the socket, and with the server, whichever comes first. Files that a killed
//! server has left are swept when the next one binds.

mod connection;
mod peer;

use std::io;
use std::path::Path;

use crate::os::{FileStore, NamedFile};

pub(super) use connection::{ClassicConnection, Fate};

/// Where the files of classic connections are, and how long each is.
#[derive(Debug)]
pub(super) struct ClassicFiles {
    store: FileStore,
    file_bytes: u64,
}

impl ClassicFiles {
    /// Makes sure of the directory, and sweeps it.
    pub(super) fn prepare(directory: &Path, file_bytes: u64) -> io::Result<Self> {
        Ok(Self { store: FileStore::prepare(directory)?, file_bytes })
    }

    /// A new connection's id and file.
    fn make(&self) -> io::Result<(String, NamedFile)> {
        self.store.make(self.file_bytes)
    }
}
