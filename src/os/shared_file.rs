//! A file whose bytes two processes read and write in turns.
//!
//! The peer may write, truncate and lengthen the file at any time, and touching a page of a mapping behind
//! the file's end raises SIGBUS. So it is never mapped here: `pread` and `pwrite` copy, and report what is
//! not there.

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::retry_on_intr;

use crate::os::credentials::effective_uid;
use crate::os::socket::at;

/// An open file, and the path and the length that it had when it was opened.
#[derive(Debug)]
pub(crate) struct SharedFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl SharedFile {
    pub(super) fn new(file: File, path: &Path, len: u64) -> Self {
        Self { file, path: path.into(), len }
    }

    /// Opens a file that the peer names: a regular one of our own user.
    ///
    /// # Errors
    /// What the kernel says, or what is wrong with the file, with the path.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let failed = |error| at(path, "open", error);
        // Whatever is there instead of a file must neither hold us up nor become our terminal.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.bits() as i32);
        let file = options.open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let refuse = |why: String| Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        if !found.is_file() {
            return refuse("it is no regular file".into());
        }
        if found.uid() != effective_uid() {
            return refuse(format!("it belongs to user {}, not to the one of this process", found.uid()));
        }
        Ok(Self::new(file, path, found.len()))
    }

    /// A file that was opened in whatever way.
    #[cfg(test)]
    pub(crate) fn of(file: File, path: &Path) -> Self {
        Self::new(file, path, 0)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes, as it was made or found. The peer may have changed it since.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads from `start` on into `buffer`. Returns what there was: less than was asked for near the file's
    /// end, and where one read is not enough.
    pub(crate) fn read_at<'b>(
        &self,
        buffer: &'b mut [MaybeUninit<u8>],
        start: u64,
    ) -> io::Result<&'b mut [u8]> {
        // A read of a regular file is not interrupted.
        let (read, _) = rustix::io::pread(&self.file, buffer, start)?;
        Ok(read)
    }

    /// Writes all of `bytes` from `start` on.
    pub(crate) fn write_at(&self, mut bytes: &[u8], mut start: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match retry_on_intr(|| rustix::io::pwrite(&self.file, bytes, start))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => (bytes, start) = (&bytes[written..], start + written as u64),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn read(file: &SharedFile, len: usize, start: u64) -> Vec<u8> {
        file.read_at(&mut vec![MaybeUninit::uninit(); len], start).unwrap().to_vec()
    }

    #[test]
    fn what_is_written_is_read_and_a_truncated_file_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let theirs = File::create(&path).unwrap();
        theirs.set_len(8192).unwrap();
        let file = SharedFile::open(&path).unwrap();
        assert_eq!((file.len(), file.path()), (8192, &*path));
        file.write_at(b"hello", 4094).unwrap();
        assert_eq!(read(&file, 7, 4093), b"\0hello\0");
        theirs.write_all_at(b"H", 4095).unwrap();
        theirs.set_len(4096).unwrap();
        assert_eq!(read(&file, 7, 4093), b"\0hH");
        assert_eq!(read(&file, 7, 5000), b"");
        assert_eq!(file.len(), 8192);
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let error = |name| SharedFile::open(&path(name)).unwrap_err().to_string();
        assert!(error("missing").contains("missing") && error("missing").contains("No such file"));
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        assert!(error("link").contains("symbolic link"), "{}", error("link"));
        fs::create_dir(path("folder")).unwrap();
        assert!(error("folder").contains("folder"));
        let _listener = UnixListener::bind(path("socket")).unwrap();
        assert!(error("socket").contains("socket"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(error("pipe").contains("no regular file"), "{}", error("pipe"));
    }
}
