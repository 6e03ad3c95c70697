//! A file that a peer finds by its path: made anew, for its owner alone, and swept away after a crash.
//!
//! Whoever makes such a file holds a lock on it (`flock`) for as long as it lives. The kernel drops the lock
//! with the process, so a file of our name whose lock is free is one that a crash has left.
//!
//! What is in it is read and written as that of a [`SharedFile`].

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, OFlags};

use crate::os::credentials::effective_uid;
use crate::os::fork::ForkMark;
use crate::os::shared_file::SharedFile;
use crate::os::socket::at;

/// Length of the longest file that is made here.
pub(crate) const LONGEST_FILE: u64 = 1 << 30;

/// A named file, removed on drop.
#[derive(Debug)]
pub(crate) struct NamedFile {
    file: SharedFile,
    removed: AtomicBool,
    process: ForkMark,
}

impl NamedFile {
    /// Makes a file of `len` bytes, at most [`LONGEST_FILE`], with mode 0600. Nothing may be at `path`.
    ///
    /// # Errors
    /// What the kernel says, with the path.
    pub(crate) fn create(path: &Path, len: u64) -> io::Result<Self> {
        debug_assert!(len <= LONGEST_FILE);
        let failed = |error| at(path, "open", error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let file = SharedFile::new(file, path, len);
        let named = Self { file, removed: AtomicBool::new(false), process: ForkMark::get() };
        // A sweeper that looks at this very moment may hold the lock, and then removes the file.
        let locked = rustix::fs::flock(named.file.file(), FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|errno| failed(errno.into()))?;
        // Whatever the umask says.
        named.file.file().set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        named.file.file().set_len(len).map_err(failed)?;
        if !named.is_at_its_path() {
            return Err(failed(io::Error::new(io::ErrorKind::Interrupted, "somebody removed the new file")));
        }
        Ok(named)
    }

    /// The file as both sides read and write it.
    pub(crate) fn shared(&self) -> &SharedFile {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Removes the name, once. What has the file open keeps it.
    pub(crate) fn remove(&self) {
        // A forked child that drops its copy must not take the file from its parent, and what somebody else
        // put at the path since is not ours.
        let ours = self.process.is_same_process() && !self.removed.swap(true, Ordering::Relaxed);
        if ours && self.is_at_its_path() {
            // Nobody is left to tell: the next server sweeps it away.
            let _ = fs::remove_file(self.path());
        }
    }

    fn is_at_its_path(&self) -> bool {
        is_at(self.path(), self.file.file())
    }
}

impl Drop for NamedFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn is_at(path: &Path, file: &File) -> bool {
    let place = |found: &fs::Metadata| (found.dev(), found.ino());
    matches!((fs::symlink_metadata(path), file.metadata()), (Ok(a), Ok(b)) if place(&a) == place(&b))
}

/// Makes sure of a directory that only its owner can put files into; returns its absolute path. Makes it,
/// with mode 0700, if it is missing and its parent is there.
///
/// # Errors
/// What the kernel says, or what is wrong with the directory and what to do, with the path.
pub(crate) fn private_directory(path: &Path) -> io::Result<PathBuf> {
    let failed = |error| at(path, "directory", error);
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let path = fs::canonicalize(path).map_err(failed)?;
    let found = fs::metadata(&path).map_err(failed)?;
    let refuse = |why: String| Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, why)));
    if !found.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() != effective_uid() {
        return refuse(format!("it belongs to user {}; choose one of your own", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return refuse(format!(
            "others may write to it (mode {mode:o}); chmod 700 it, or choose another one"
        ));
    }
    Ok(path)
}

/// Removes the files that a crash has left in a directory: regular ones of our own user, whose name `is_ours`
/// knows, and whose lock nobody holds. Returns how many there were.
///
/// # Errors
/// If the directory cannot be listed. A file that cannot be removed stays.
pub(crate) fn sweep(directory: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_ours) && sweep_one(&entry.path()).unwrap_or(false) {
            swept += 1;
        }
    }
    Ok(swept)
}

fn sweep_one(path: &Path) -> io::Result<bool> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != effective_uid() {
        return Ok(false);
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // With the lock in hand: who makes a file at this very moment finds it locked, and gives it up.
        Ok(()) if is_at(path, &file) => fs::remove_file(path).map(|()| true),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        (dir, path)
    }

    #[test]
    fn it_is_its_owners_alone_and_goes_with_its_maker() {
        let (_dir, path) = place();
        let file = NamedFile::create(&path, 5000).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.len()), (0o600, 5000));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_that_is_there_is_taken_over() {
        let (dir, path) = place();
        fs::write(&path, "precious").unwrap();
        assert_eq!(NamedFile::create(&path, 10).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("target"), &link).unwrap();
        assert_eq!(NamedFile::create(&link, 10).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_took_its_place_stays() {
        let (_dir, path) = place();
        let file = NamedFile::create(&path, 10).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }

    #[test]
    fn a_forked_childs_copy_leaves_the_file_alone() {
        let (_dir, path) = place();
        let mut file = NamedFile::create(&path, 10).unwrap();
        file.process = ForkMark::of_another_process();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn only_what_a_crash_left_is_swept() {
        let _no_forks = crate::os::forks::forbidden();
        let (dir, path) = place();
        let _living = NamedFile::create(&path, 10).unwrap();
        let join = |name: &str| dir.path().join(name);
        fs::write(join("file-dead"), "").unwrap();
        fs::write(join("other"), "").unwrap();
        fs::create_dir(join("file-folder")).unwrap();
        std::os::unix::fs::symlink(join("other"), join("file-link")).unwrap();
        assert_eq!(sweep(dir.path(), |name| name.starts_with("file")).unwrap(), 1);
        assert!(!join("file-dead").exists());
        for kept in ["file", "other", "file-folder", "file-link"] {
            assert!(fs::symlink_metadata(join(kept)).is_ok(), "{kept}");
        }
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = private_directory(&dir.path().join("new")).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(private_directory(&made).unwrap(), made);
        fs::set_permissions(&made, Permissions::from_mode(0o777)).unwrap();
        let error = private_directory(&made).unwrap_err().to_string();
        assert!(error.contains("mode 777") && error.contains("chmod 700"), "{error}");
        fs::write(dir.path().join("file"), "").unwrap();
        private_directory(&dir.path().join("file")).unwrap_err();
        let error = private_directory(&dir.path().join("no/such")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
