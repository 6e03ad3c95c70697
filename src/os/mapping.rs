//! A shared mapping: bytes that another process may see, or may change, at any time.
//!
//! That is why no slice of them exists. The type hands out raw pointers, and the layers above turn those
//! into atomics or copy from them.
//!
//! A large one lies where the kernel can map huge pages, and its owner asks for some: then the processor
//! finds 2 MiB by what it remembers, where it would else look up each 4 KiB, in a virtual machine twice.

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, BorrowedFd};

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::mm::{MapFlags, ProtFlags};

use crate::os::fork::ForkMark;

/// Bytes of a huge page: on x86-64, and with pages of 4 KiB elsewhere. A mapping of as many is a large one.
const HUGE_PAGE: usize = 2 << 20;

/// `MADV_COLLAPSE`, of Linux 6.1: `libc` has no name for it on all systems.
const COLLAPSE: c_int = 25;

/// A mapping that lasts until it is dropped.
///
/// It is `Send` and `Sync` because it gives out addresses only: whoever dereferences one answers for the
/// access. A forked child does not inherit the pages (`MADV_DONTFORK`), so it cannot write into a region
/// that its parent still owns.
pub(crate) struct Mapping {
    /// Dropped by hand: see `drop`. Of a large one, the range of addresses that it was placed in.
    raw: ManuallyDrop<MmapRaw>,
    /// Where it begins within those, and its length.
    start: usize,
    len: usize,
    writable: bool,
    mapped_by: ForkMark,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Mapping>()
};

impl Mapping {
    /// Maps the first `len` bytes of `fd` read-write and populates them. Huge pages take the place of those
    /// that a large memory file has, if the kernel has some.
    pub(crate) fn writable(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        if len >= HUGE_PAGE {
            return Self::placed(fd, len, true);
        }
        let raw = MmapOptions::new().len(len).populate().map_raw(fd.as_raw_fd())?;
        Self::unshared_with_children(raw, true)
    }

    /// Maps the first `len` bytes of `fd` for reading only and populates them.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        if len >= HUGE_PAGE {
            return Self::placed(fd, len, false);
        }
        let raw = MmapOptions::new().len(len).populate().map_raw_read_only(fd.as_raw_fd())?;
        Self::unshared_with_children(raw, false)
    }

    /// Private zeros, which take memory where they are touched.
    pub(crate) fn private(len: usize) -> io::Result<Self> {
        let anonymous = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
        Self::unshared_with_children(anonymous.into(), true)
    }

    /// Maps at the start of a huge page.
    ///
    /// `MADV_COLLAPSE` works whatever the system's settings say of huge pages, which mostly forbid them to
    /// memory files. What it collapses it maps as well, so that little is left to populate.
    fn placed(fd: BorrowedFd<'_>, len: usize, writable: bool) -> io::Result<Self> {
        // Addresses, and no memory as long as nobody touches it.
        let room = MmapOptions::new().len(len + HUGE_PAGE).no_reserve_swap().map_anon()?;
        let room = MmapRaw::from(room);
        let start = room.as_ptr().addr().next_multiple_of(HUGE_PAGE) - room.as_ptr().addr();
        let rights = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: the range lies within `room`, which is ours and of which nothing is in use.
        let mapped =
            unsafe { rustix::mm::mmap(room.as_mut_ptr().add(start).cast(), len, rights, flags, fd, 0) };
        if let Err(error) = mapped {
            // The kernel may have made a hole there before it failed, and somebody else may have it by now:
            // what is left of the room stays.
            mem::forget(room);
            return Err(error.into());
        }
        let mapping = Self::at(room, start, len, writable)?;
        if writable {
            // SAFETY: it is our mapping, whose contents stay the same. Without huge pages all is as before.
            let _ = unsafe { libc::madvise(mapping.as_mut_ptr().cast(), len, COLLAPSE) };
        }
        let populate = if writable { Advice::PopulateWrite } else { Advice::PopulateRead };
        // Where the kernel does not know it, pages are mapped when they are touched.
        let _ = mapping.raw.advise_range(populate, start, len);
        Ok(mapping)
    }

    fn unshared_with_children(raw: MmapRaw, writable: bool) -> io::Result<Self> {
        let len = raw.len();
        Self::at(raw, 0, len, writable)
    }

    fn at(raw: MmapRaw, start: usize, len: usize, writable: bool) -> io::Result<Self> {
        raw.advise_range(Advice::DontFork, start, len)?;
        Ok(Self { raw: ManuallyDrop::new(raw), start, len, writable, mapped_by: ForkMark::get() })
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.raw.as_ptr().wrapping_add(self.start)
    }

    /// The first byte, for writing.
    ///
    /// # Panics
    /// If the mapping is read-only: a write through the pointer would raise SIGSEGV far from the mistake.
    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        assert!(self.writable, "the mapping is read-only");
        self.raw.as_mut_ptr().wrapping_add(self.start)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
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

    /// How many mappings of a file there are.
    fn mappings_of(file: &std::fs::File) -> usize {
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap()).to_string();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count()
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
    fn a_large_mapping_begins_with_a_huge_page_and_leaves_nothing() {
        for len in [HUGE_PAGE, HUGE_PAGE + 4096, 3 * HUGE_PAGE - 4096] {
            let file = file_of(len as u64);
            let ours = Mapping::writable(file.as_fd(), len).unwrap();
            let theirs = Mapping::read_only(file.as_fd(), len).unwrap();
            for (mapping, expected) in [(&ours, "rw-s"), (&theirs, "r--s")] {
                assert_eq!((mapping.len(), mapping.as_ptr().addr() % HUGE_PAGE), (len, 0));
                let (permissions, flags) = kernel_view(mapping.as_ptr()).unwrap();
                assert_eq!(permissions, expected);
                assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
            }
            for at in [0, len / 2, len - 1] {
                // SAFETY: both mappings are `len` bytes long and this thread alone touches them.
                unsafe {
                    ours.as_mut_ptr().add(at).write_volatile(0xa5);
                    assert_eq!(theirs.as_ptr().add(at).read_volatile(), 0xa5);
                }
            }
            assert_eq!(mappings_of(&file), 2);
            drop((ours, theirs));
            assert_eq!(mappings_of(&file), 0);
        }
    }

    /// Bytes of the mapping at `address` that the processor sees as huge pages of a memory file.
    fn huge_bytes(address: *const u8) -> u64 {
        let start = format!("{:x}-", address as usize);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let huge = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:")).unwrap_or("0 kB");
        huge.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    #[test]
    fn a_large_memory_file_lies_in_huge_pages_for_both_sides() {
        let len = 2 * HUGE_PAGE;
        let file = rustix::fs::memfd_create("mmap-rpc-test-huge", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len as u64).unwrap();
        let ours = Mapping::writable(file.as_fd(), len).unwrap();
        if huge_bytes(ours.as_ptr()) == 0 {
            // SAFETY: it is our mapping, whose contents stay the same.
            let asked = unsafe { libc::madvise(ours.as_mut_ptr().cast(), len, COLLAPSE) };
            assert_ne!(asked, 0, "the kernel has huge pages, and was not asked for them");
            return eprintln!("skipped: the kernel has no huge pages: {}", io::Error::last_os_error());
        }
        let theirs = Mapping::read_only(file.as_fd(), len).unwrap();
        // Of the two there may have been one.
        assert_eq!(huge_bytes(theirs.as_ptr()), huge_bytes(ours.as_ptr()));
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
