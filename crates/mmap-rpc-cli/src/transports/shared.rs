//! Memory that two processes of this measurement share, without any protection: a memfd that the server
//! makes and the client opens through the server's `/proc` directory.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use anyhow::{Context, ensure};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::transports::Place;

/// A mapping, and the file that it maps.
pub(super) struct Shared {
    map: MmapRaw,
    file: File,
}

impl Shared {
    /// New memory, all zeros.
    pub(super) fn create(len: usize) -> anyhow::Result<Self> {
        let file = memfd_create("mmap-rpc-bench", MemfdFlags::CLOEXEC).context("no memfd")?;
        let file = File::from(file);
        file.set_len(len as u64).context("the shared memory cannot grow")?;
        Self::map(file, len)
    }

    /// What the server noted so that clients can open it.
    pub(super) fn note(&self) -> String {
        self.file.as_raw_fd().to_string()
    }

    /// The memory of the server at a place.
    pub(super) fn open(place: &Place, len: usize) -> anyhow::Result<Self> {
        let path = format!("/proc/{}/fd/{}", place.server, place.note);
        let file = File::options().read(true).write(true).open(&path);
        Self::map(file.with_context(|| format!("cannot open the shared memory {path}"))?, len)
    }

    /// Maps a file, and touches all of it: a page fault costs as much as several calls.
    fn map(file: File, len: usize) -> anyhow::Result<Self> {
        let there = file.metadata().context("the shared memory cannot be measured")?.len();
        ensure!(there == len as u64, "the shared memory has {there} bytes instead of {len}");
        let map = MmapOptions::new().len(len).populate().map_raw(&file).context("cannot map memory")?;
        Ok(Self { map, file })
    }

    /// The word at an offset.
    #[inline]
    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + size_of::<AtomicU32>() <= self.map.len() && offset.is_multiple_of(4));
        // SAFETY: the word lies inside the mapping, which is page-aligned and lives as long as the reference;
        // both processes use it as an atomic and in no other way.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }

    /// The double word at an offset.
    #[inline]
    pub(super) fn double_word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + size_of::<AtomicU64>() <= self.map.len() && offset.is_multiple_of(8));
        // SAFETY: as for `word`.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(offset).cast()) }
    }

    /// The bytes of a range, to read them where they lie.
    ///
    /// # Safety
    /// Nobody writes to them while the borrow lives.
    #[inline]
    pub(super) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        // SAFETY: the range lies inside the mapping; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), len) }
    }

    /// The bytes of a range, to fill them where they lie.
    ///
    /// # Safety
    /// Nobody else reads or writes them while the borrow lives.
    #[inline]
    #[allow(clippy::mut_from_ref)] // the caller's promise makes it the only reference
    pub(super) unsafe fn bytes_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset <= self.map.len() && len <= self.map.len() - offset);
        // SAFETY: the range lies inside the mapping; the caller keeps everybody else away.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().add(offset), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_show_the_same_words() {
        let ours = Shared::create(4096).unwrap();
        let place =
            Place { directory: "".into(), server: std::process::id(), note: ours.note(), max_size: 1 };
        let theirs = Shared::open(&place, 4096).unwrap();
        ours.word(128).store(7, Ordering::Release);
        assert_eq!(theirs.word(128).load(Ordering::Acquire), 7);
        assert_eq!(theirs.double_word(128).load(Ordering::Acquire), 7);
        assert!(Shared::open(&place, 8192).is_err());
    }
}
