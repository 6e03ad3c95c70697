//! Am I still the process that made this connection?
//!
//! A forked child inherits every handle, but not the mappings behind them. One page that the kernel wipes on
//! fork tells parent and child apart with a single load, where `getpid` would cost a system call per use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapOptions;
use rustix::mm::Advice;

/// The process that took the mark, to be compared with the one that looks at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForkMark {
    /// The word that a fork wipes; `None` where the kernel has no such pages.
    word: Option<&'static AtomicU64>,
    /// What the word held, or the process id, when the mark was taken.
    taken: u64,
}

/// Numbers the generations of one ancestry. A child inherits the counter as it was and draws beyond it, so
/// no process holds the number of an ancestor.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl ForkMark {
    /// Marks the calling process.
    pub(crate) fn get() -> Self {
        static WORD: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
        Self::take(*WORD.get_or_init(wiped_on_fork))
    }

    fn take(word: Option<&'static AtomicU64>) -> Self {
        Self { word, taken: word.map_or_else(process_id, generation) }
    }

    /// A mark that this process did not take.
    #[cfg(test)]
    pub(crate) fn of_another_process() -> Self {
        let mark = Self::get();
        Self { taken: mark.taken + 1, ..mark }
    }

    /// Whether this process took the mark, rather than an ancestor that forked since.
    #[inline]
    pub(crate) fn is_same_process(&self) -> bool {
        let now = match self.word {
            // Relaxed: the word was set before the mark existed and publishes nothing but itself.
            Some(word) => word.load(Ordering::Relaxed),
            None => process_id(),
        };
        now == self.taken
    }
}

/// This process's number in `word`, drawn on first use: 0 is what a wiped page holds.
fn generation(word: &AtomicU64) -> u64 {
    // Relaxed throughout: the number publishes nothing, and all that matters is that one of the threads
    // which find 0 decides it for all.
    match word.load(Ordering::Relaxed) {
        0 => {
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|v| v, |_| fresh)
        }
        drawn => drawn,
    }
}

fn process_id() -> u64 {
    std::process::id().into()
}

/// A word in a page of its own that reads 0 in a child; `None` if the kernel refuses (before Linux 4.14, and
/// in some sandboxes). The page lives as long as the process.
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    let mut page = MmapOptions::new().len(size_of::<AtomicU64>()).map_anon().ok()?;
    let (start, len) = (page.as_mut_ptr(), page.len());
    // SAFETY: the range is our own fresh anonymous mapping, and the advice leaves its contents as they are.
    unsafe { rustix::mm::madvise(start.cast(), len, Advice::LinuxWipeOnFork) }.ok()?;
    std::mem::forget(page);
    // SAFETY: the page is aligned, zeroed, never unmapped (forgotten above), and only ever seen as this
    // atomic.
    Some(unsafe { AtomicU64::from_ptr(start.cast()) })
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;

    // rustix offers no fork, and std none without exec.
    unsafe extern "C" {
        fn fork() -> i32;
        fn _exit(status: i32) -> !;
    }

    /// The status with which a forked child that runs `child` ends.
    ///
    /// `child` may do only what is safe between fork and exec: no allocation, no lock, no panic.
    fn in_child(child: impl FnOnce() -> i32) -> i32 {
        let _allowed = crate::os::forks::allowed();
        // SAFETY: the child runs `child`, which keeps to what is safe after fork, and `_exit`.
        let pid = unsafe { fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            let status = child();
            // SAFETY: ends the child at once; nothing of the parent's is flushed or run.
            unsafe { _exit(status) }
        }
        let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status().expect("the child exits")
    }

    /// 0 if a mark from before the fork is stale here, and one taken here is good.
    fn verdict(inherited: ForkMark) -> i32 {
        if inherited.is_same_process() {
            return 1;
        }
        if !ForkMark::take(inherited.word).is_same_process() {
            return 2;
        }
        // Taking a mark must not revive the inherited one.
        i32::from(inherited.is_same_process()) * 3
    }

    fn outlives_forks(word: Option<&'static AtomicU64>) {
        let mark = ForkMark::take(word);
        assert!(mark.is_same_process());
        assert_eq!(in_child(|| verdict(mark)), 0);
        assert!(mark.is_same_process(), "a fork leaves the parent's mark good");
        let other = ForkMark::take(word);
        assert!(mark.taken == other.taken, "one process has one number");
    }

    #[test]
    fn a_child_finds_its_parents_mark_stale() {
        assert!(wiped_on_fork().is_some(), "this kernel wipes pages on fork");
        outlives_forks(ForkMark::get().word);
    }

    #[test]
    fn the_process_id_serves_where_pages_cannot_be_wiped() {
        outlives_forks(None);
    }

    #[test]
    fn a_grandchild_finds_its_grandparents_and_its_parents_marks_stale() {
        let mark = ForkMark::get();
        let status = in_child(|| {
            let parents = ForkMark::get();
            // SAFETY: this process has one thread, and the grandchild only loads words and exits.
            match unsafe { fork() } {
                0 => {
                    let stale = verdict(mark) == 0 && !parents.is_same_process();
                    // SAFETY: ends the grandchild at once.
                    unsafe { _exit(i32::from(!stale)) }
                }
                pid => match waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
                    Ok(Some((_, status))) => status.exit_status().unwrap_or(9),
                    _ => 8,
                },
            }
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn threads_agree_on_the_number() {
        let word = wiped_on_fork();
        let numbers: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| ForkMark::take(word).taken)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(numbers.iter().all(|&n| n != 0 && n == numbers[0]), "{numbers:?}");
    }
}
