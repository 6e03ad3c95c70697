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
use std::path::{Path, PathBuf};

use crate::os::{NamedFile, private_directory, sweep};

pub(super) use connection::{ClassicConnection, Fate};

const PREFIX: &str = "mmap-rpc-";
const SUFFIX: &str = ".mmap";

/// How often another name is tried when a sweeper took hold of a new file.
const TRIES: usize = 8;

/// Where the files of classic connections are, and how long each is.
#[derive(Debug)]
pub(super) struct ClassicFiles {
    directory: PathBuf,
    file_bytes: u64,
}

impl ClassicFiles {
    /// Makes sure of the directory, and sweeps it.
    pub(super) fn prepare(directory: &Path, file_bytes: u64) -> io::Result<Self> {
        let directory = private_directory(directory)?;
        if directory.to_str().is_none() {
            let why = format!("{directory:?} is not UTF-8, which paths in messages have to be");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let swept = sweep(&directory, is_name)?;
        if swept > 0 {
            tracing::info!(?directory, swept, "removed files that a killed server had left");
        }
        Ok(Self { directory, file_bytes })
    }

    /// A new connection's id and file.
    fn make(&self) -> io::Result<(String, NamedFile)> {
        let mut tries = 1;
        loop {
            let id = random_id()?;
            match NamedFile::create(&self.directory.join(format!("{PREFIX}{id}{SUFFIX}")), self.file_bytes) {
                Ok(file) => return Ok((id, file)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted if tries < TRIES => tries += 1,
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Whether a file name is one that [`ClassicFiles::make`] gives.
fn is_name(name: &str) -> bool {
    let id = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    id.is_some_and(|id| {
        let digit = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        id.len() == 36 && id.bytes().enumerate().all(digit)
    })
}

/// 122 random bits as a version 4 UUID, as the published server's ids are.
fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    // So few bytes come whole or not at all.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_version_4_uuids_and_names_are_known_again() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert!(is_name(&format!("mmap-rpc-{one}.mmap")));
        let foreign = [format!("{one}.mmap"), format!("mmap-rpc-{one}"), "mmap-rpc-x.mmap".into()];
        for foreign in foreign.into_iter().chain([format!("mmap-rpc-{}.mmap", one.to_uppercase())]) {
            assert!(!is_name(&foreign), "{foreign}");
        }
    }
}
