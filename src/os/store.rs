//! A directory of named files, one for each connection that needs one.

use std::io;
use std::path::{Path, PathBuf};

use crate::os::named::{NamedFile, private_directory, sweep};

const PREFIX: &str = "mmap-rpc-";
const SUFFIX: &str = ".mmap";

/// How often another name is tried when a sweeper took hold of a new file.
const TRIES: usize = 8;

/// Where a server's files are.
#[derive(Debug)]
pub(crate) struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// Makes sure of the directory, as [`private_directory`] does, and sweeps it.
    pub(crate) fn prepare(directory: &Path) -> io::Result<Self> {
        let directory = private_directory(directory)?;
        if directory.to_str().is_none() {
            let why = format!("{directory:?} is not UTF-8, which paths in messages have to be");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let swept = sweep(&directory, is_name)?;
        if swept > 0 {
            tracing::info!(?directory, swept, "removed files that a killed server had left");
        }
        Ok(Self { directory })
    }

    /// A file of `bytes` bytes, and the random id in its name.
    pub(crate) fn make(&self, bytes: u64) -> io::Result<(String, NamedFile)> {
        let mut tries = 1;
        loop {
            let id = random_id()?;
            match NamedFile::create(&self.directory.join(format!("{PREFIX}{id}{SUFFIX}")), bytes) {
                Ok(file) => return Ok((id, file)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted if tries < TRIES => tries += 1,
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Whether a file name is one that [`FileStore::make`] gives.
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
