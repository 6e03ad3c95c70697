//! A shared mapping: bytes that another process may see, or may change, at any time.
//!
//! That is why no slice of them exists. The type hands out raw pointers, and the layers above turn those
//! into atomics or copy from them.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::os::fork::ForkMark;

/// A mapping that lasts until it is dropped.
///
/// It is `Send` and `Sync` because it gives out addresses only: whoever dereferences one answers for the
/// access. A forked child does not inherit the pages (`MADV_DONTFORK`), so it cannot write into a region
/// that its parent still owns.
pub(crate) struct Mapping {
    /// Dropped by hand: see `drop`.
    raw: ManuallyDrop<MmapRaw>,
    writable: bool,
    mapped_by: ForkMark,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Mapping>()
};

impl Mapping {
    /// Maps the first `len` bytes of `fd` read-write and populates them.
    pub(crate) fn writable(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(len).populate().map_raw(fd.as_raw_fd())?;
        Self::unshared_with_children(raw, true)
    }

    /// Maps the first `len` bytes of `fd` for reading only and populates them.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(len).populate().map_raw_read_only(fd.as_raw_fd())?;
        Self::unshared_with_children(raw, false)
    }

    /// Private zeros, which take memory where they are touched.
    pub(crate) fn private(len: usize) -> io::Result<Self> {
        let anonymous = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
        Self::unshared_with_children(anonymous.into(), true)
    }

    fn unshared_with_children(raw: MmapRaw, writable: bool) -> io::Result<Self> {
        raw.advise(Advice::DontFork)?;
        Ok(Self { raw: ManuallyDrop::new(raw), writable, mapped_by: ForkMark::get() })
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.raw.as_ptr()
    }

    /// The first byte, for writing.
    ///
    /// # Panics
    /// If the mapping is read-only: a write through the pointer would raise SIGSEGV far from the mistake.
    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        assert!(self.writable, "the mapping is read-only");
        self.raw.as_mut_ptr()
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether this side may write.
    #[cfg(test)]
    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A forked child has nothing at these addresses, or by now something else, which must stay.
        if self.mapped_by.is_same_process() {
            // SAFETY: nobody uses the field after this.
            unsafe { ManuallyDrop::drop(&mut self.raw) };
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("address", &self.as_ptr())
            .field("len", &self.len())
            .field("writable", &self.writable)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn file_of(len: u64) -> std::fs::File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    /// What the kernel says about the mapping that starts at `address`; `None` if there is none.
    fn kernel_view(address: *const u8) -> Option<(String, String)> {
        let start = format!("{:x}-", address as usize);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let permissions = lines.next()?.split_whitespace().nth(1)?.to_owned();
        let flags = lines.find(|line| line.starts_with("VmFlags:"))?.to_owned();
        Some((permissions, flags))
    }

    #[test]
    fn a_write_shows_in_another_mapping_of_the_file() {
        let file = file_of(8192);
        let ours = Mapping::writable(file.as_fd(), 8192).unwrap();
        let theirs = Mapping::read_only(file.as_fd(), 8192).unwrap();
        assert_eq!((ours.len(), theirs.len()), (8192, 8192));
        assert!(ours.is_writable() && !theirs.is_writable());
        // SAFETY: both mappings are 8192 bytes long and this thread alone touches them.
        unsafe {
            ours.as_mut_ptr().add(8191).write_volatile(0xa5);
            assert_eq!(theirs.as_ptr().add(8191).read_volatile(), 0xa5);
        }
    }

    #[test]
    #[should_panic(expected = "read-only")]
    fn a_read_only_mapping_gives_no_mutable_pointer() {
        let file = file_of(4096);
        Mapping::read_only(file.as_fd(), 4096).unwrap().as_mut_ptr();
    }

    #[test]
    fn children_inherit_no_mapping_and_only_ours_is_writable() {
        let file = file_of(4096);
        for (mapping, expected) in [
            (Mapping::writable(file.as_fd(), 4096).unwrap(), "rw-s"),
            (Mapping::read_only(file.as_fd(), 4096).unwrap(), "r--s"),
        ] {
            let (permissions, flags) = kernel_view(mapping.as_ptr()).unwrap();
            assert_eq!(permissions, expected);
            // "dc": do not copy on fork.
            assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
        }
    }
}
