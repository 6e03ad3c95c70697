//! Sealed memory files: how a region is made, and how a peer's region is admitted.
//!
//! The creator maps the file read-write first and seals it afterwards. From then on nobody can resize it
//! (no SIGBUS), nobody can map it writable a second time, and nobody can take the seals off. The receiver
//! checks exactly that before it maps anything. Nothing is left on any disk, whoever dies.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use crate::os::mapping::Mapping;

/// Lengths are whole pages of this many bytes.
const PAGE: u64 = 4096;

/// What admission insists on. `SEAL` among them makes the others permanent.
const REQUIRED: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// The check that a descriptor from a peer failed.
#[derive(Debug, Error)]
pub(crate) enum AdmitError {
    /// The descriptor cannot carry seals: it is not a memfd.
    #[error("not a memfd: the descriptor cannot be sealed")]
    NotSealable,
    /// Some of the required seals are not there.
    #[error("seals missing: {}", seal_names(*.missing))]
    Seals {
        /// Those of the required seals that the file lacks.
        missing: SealFlags,
    },
    /// The announced length is zero or no multiple of the page size.
    #[error("length {0} is not a positive multiple of 4096")]
    Length(u64),
    /// The file is longer or shorter than announced, in bytes.
    #[error("size differs: announced {expected} bytes, the file has {found}")]
    Size {
        /// What the peer announced.
        expected: u64,
        /// What the kernel says.
        found: u64,
    },
    /// Not every page is allocated, so that a read could meet an allocation failure as SIGBUS.
    #[error("holes: only {allocated} of {expected} bytes are allocated")]
    Holes {
        /// What the peer announced.
        expected: u64,
        /// What the kernel has allocated.
        allocated: u64,
    },
    /// The kernel refused to answer, or to map.
    #[error("the kernel refused: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for AdmitError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

fn seal_names(seals: SealFlags) -> String {
    seals.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

/// Makes a memory file of `len` bytes, all zero and all allocated, maps it read-write and seals it.
///
/// The descriptor is for the peer; the mapping stays valid when it is closed. `name` is for people who
/// read `/proc/<pid>/maps` (at most 249 bytes, no NUL).
///
/// # Errors
/// `InvalidInput` if `len` is not a positive multiple of 4096; else what the kernel says, `OutOfMemory` and
/// `StorageFull` among it.
pub(crate) fn create_sealed(name: &str, len: u64) -> io::Result<(OwnedFd, Mapping)> {
    let Some(size) = map_length(len) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, AdmitError::Length(len)));
    };
    let fd = allocated(name, len)?;
    let mapping = Mapping::writable(fd.as_fd(), size)?;
    // FUTURE_WRITE spares the mappings that exist, so ours has to be there first. SEAL forbids further
    // seals, so it comes last.
    rustix::fs::fcntl_add_seals(&fd, REQUIRED.difference(SealFlags::SEAL))?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SEAL)?;
    Ok((fd, mapping))
}

/// A file with all its pages. Populating the mapping would allocate them too, but a failure there is silent,
/// and a later write would meet it as SIGBUS.
fn allocated(name: &str, len: u64) -> io::Result<OwnedFd> {
    let fd = create(name)?;
    rustix::fs::ftruncate(&fd, len)?;
    retry_on_intr(|| rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len))?;
    Ok(fd)
}

fn create(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        made => Ok(made?),
    }
}

/// Checks a descriptor that a peer sent, maps it read-only and closes it.
///
/// No check can become untrue afterwards: the seals forbid it.
///
/// # Errors
/// The first check that failed. The descriptor is closed in any case.
pub(crate) fn admit_sealed(fd: OwnedFd, expected_len: u64) -> Result<Mapping, AdmitError> {
    let size = map_length(expected_len).ok_or(AdmitError::Length(expected_len))?;
    check(fd.as_fd(), expected_len)?;
    Ok(Mapping::read_only(fd.as_fd(), size)?)
}

/// `len` as the length of a mapping, if it can be one.
fn map_length(len: u64) -> Option<usize> {
    let whole_pages = len > 0 && len.is_multiple_of(PAGE);
    usize::try_from(len).ok().filter(|&len| whole_pages && isize::try_from(len).is_ok())
}

fn check(fd: BorrowedFd<'_>, expected: u64) -> Result<(), AdmitError> {
    let seals = match rustix::fs::fcntl_get_seals(fd) {
        // The kernel's answer for every file that is neither tmpfs nor hugetlbfs.
        Err(Errno::INVAL) => return Err(AdmitError::NotSealable),
        seals => seals?,
    };
    let missing = REQUIRED.difference(seals);
    if !missing.is_empty() {
        return Err(AdmitError::Seals { missing });
    }
    let stat = rustix::fs::fstat(fd)?;
    let found = u64::try_from(stat.st_size).unwrap_or(0);
    if found != expected {
        return Err(AdmitError::Size { expected, found });
    }
    // `st_blocks` counts units of 512 bytes, whatever the block size.
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if allocated < expected {
        return Err(AdmitError::Holes { expected, allocated });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

    use super::*;

    const LEN: u64 = 16 * PAGE;

    /// A memory file as a careless or hostile peer would make it.
    fn peer_file(len: u64, allocated: u64, seals: SealFlags) -> OwnedFd {
        let fd = create("mmap-rpc-test-peer").unwrap();
        rustix::fs::ftruncate(&fd, len).unwrap();
        if allocated > 0 {
            rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, allocated).unwrap();
        }
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    }

    fn open_descriptors_of(name: &str) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        links
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.to_string_lossy().contains(name))
            .count()
    }

    #[test]
    fn the_peer_sees_what_the_owner_writes() {
        let (fd, ours) = create_sealed("mmap-rpc-test-see", LEN).unwrap();
        let theirs = admit_sealed(fd, LEN).unwrap();
        assert!(ours.is_writable() && !theirs.is_writable());
        assert_eq!((ours.len() as u64, theirs.len() as u64), (LEN, LEN));
        let last = LEN as usize - 1;
        // SAFETY: `last` lies inside both mappings, and this thread alone touches them.
        unsafe {
            assert_eq!(theirs.as_ptr().add(last).read_volatile(), 0);
            ours.as_mut_ptr().add(last).write_volatile(7);
            assert_eq!(theirs.as_ptr().add(last).read_volatile(), 7);
        }
    }

    #[test]
    fn every_page_is_allocated_before_anything_is_mapped() {
        let stat = rustix::fs::fstat(allocated("mmap-rpc-test-pages", LEN).unwrap()).unwrap();
        assert_eq!((stat.st_size as u64, stat.st_blocks as u64 * 512), (LEN, LEN));
    }

    #[test]
    fn an_admitted_mapping_cannot_be_made_writable() {
        let (fd, _ours) = create_sealed("mmap-rpc-test-protect", LEN).unwrap();
        let theirs = admit_sealed(fd.try_clone().unwrap(), LEN).unwrap();
        let start = theirs.as_ptr().cast_mut().cast();
        // SAFETY: the range is one live mapping, and nobody relies on its protection meanwhile.
        let raised =
            unsafe { rustix::mm::mprotect(start, theirs.len(), MprotectFlags::READ | MprotectFlags::WRITE) };
        assert_eq!(raised, Err(Errno::ACCESS));
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so no mapping is replaced.
        let mapped =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), theirs.len(), rights, MapFlags::SHARED, &fd, 0) };
        assert_eq!(mapped, Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(&fd, b"x", 0), Err(Errno::PERM));
    }

    #[test]
    fn a_sealed_file_keeps_its_size_its_pages_and_its_seals() {
        let (fd, _ours) = create_sealed("mmap-rpc-test-resize", LEN).unwrap();
        assert_eq!(rustix::fs::ftruncate(&fd, LEN - PAGE), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, LEN + PAGE), Err(Errno::PERM));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(&fd, punch, 0, PAGE), Err(Errno::PERM));
        assert_eq!(rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE), Err(Errno::PERM));
    }

    #[test]
    fn every_missing_seal_is_refused_by_name() {
        for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
            let fd = peer_file(LEN, LEN, REQUIRED.difference(missing));
            let error = admit_sealed(fd, LEN).unwrap_err();
            assert!(matches!(error, AdmitError::Seals { missing: m } if m == missing), "{error}");
            assert_eq!(error.to_string(), format!("seals missing: {}", seal_names(missing)));
        }
        let error = admit_sealed(peer_file(LEN, LEN, SealFlags::empty()), LEN).unwrap_err();
        // NOEXEC_SEAL brings a seal of its own where the kernel knows it; none of the four is set.
        assert!(matches!(error, AdmitError::Seals { missing } if missing == REQUIRED), "{error}");
        assert_eq!(error.to_string().matches(", ").count(), 3, "{error}");
        // The well-made twin of all these passes, so the refusals mean something.
        admit_sealed(peer_file(LEN, LEN, REQUIRED), LEN).unwrap();
    }

    #[test]
    fn another_size_than_announced_is_refused() {
        for found in [LEN - PAGE, LEN + PAGE] {
            let error = admit_sealed(peer_file(found, found, REQUIRED), LEN).unwrap_err();
            assert!(matches!(error, AdmitError::Size { expected: LEN, found: f } if f == found), "{error}");
        }
    }

    #[test]
    fn a_length_that_is_not_whole_pages_is_refused() {
        for len in [0, 1, PAGE - 1, PAGE + 1, u64::MAX, u64::MAX - (PAGE - 1)] {
            let error = admit_sealed(peer_file(PAGE, PAGE, REQUIRED), len).unwrap_err();
            assert!(matches!(error, AdmitError::Length(l) if l == len), "{error}");
            assert_eq!(
                create_sealed("mmap-rpc-test-length", len).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }

    #[test]
    fn holes_are_refused() {
        for allocated in [0, LEN - PAGE] {
            let error = admit_sealed(peer_file(LEN, allocated, REQUIRED), LEN).unwrap_err();
            assert!(matches!(error, AdmitError::Holes { expected: LEN, .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_memfd_is_refused() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (pipe, _writer) = std::io::pipe().unwrap();
        for fd in [OwnedFd::from(null), OwnedFd::from(pipe)] {
            assert!(matches!(admit_sealed(fd, LEN), Err(AdmitError::NotSealable)));
        }
    }

    #[test]
    fn no_descriptor_is_left_after_admission_or_refusal() {
        let name = "mmap-rpc-test-leak";
        let (fd, _ours) = create_sealed(name, LEN).unwrap();
        let copy = fd.try_clone().unwrap();
        assert_eq!(open_descriptors_of(name), 2);
        let _theirs = admit_sealed(fd, LEN).unwrap();
        assert_eq!(open_descriptors_of(name), 1);
        admit_sealed(copy, LEN + PAGE).unwrap_err();
        assert_eq!(open_descriptors_of(name), 0);
    }
}
