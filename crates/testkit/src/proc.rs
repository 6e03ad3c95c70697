//! What the kernel tells about a process: what it holds and what it has used.

use std::fs;

/// How much a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Descriptors of memory files of ours.
    pub memfds: usize,
    /// Lines of its map.
    pub maps: usize,
    /// Those that map a memory file of ours.
    pub regions: usize,
}

impl Held {
    /// Counts them all.
    ///
    /// # Panics
    /// If there is no such process, or it is another user's.
    pub fn by(pid: u32) -> Self {
        let (descriptors, maps) = (descriptors(pid), maps(pid));
        let ours = |all: &[String]| all.iter().filter(|one| one.contains("memfd:mmap-rpc")).count();
        Self {
            descriptors: descriptors.len(),
            memfds: ours(&descriptors),
            maps: maps.len(),
            regions: ours(&maps),
        }
    }

    /// The same of this process.
    pub fn here() -> Self {
        Self::by(std::process::id())
    }
}

/// What each open descriptor of a process refers to.
pub fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours");
    // One that is closed between the listing and the look at it has no target any more.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// The lines of a process's map.
pub fn maps(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process of ours");
    text.lines().map(str::to_owned).collect()
}

/// Processor time that a process has used, in ticks of 10 ms: user and system together.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    // The name, in parentheses, may hold anything; after it come the state (field 3) and then numbers.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |number: usize| fields[number - 3].parse::<u64>().expect("a number");
    field(14) + field(15)
}

/// How often the threads of a process went to sleep of their own will, all together. Stands still while all
/// of them sleep.
pub fn naps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process of ours");
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let count = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim();
        line.parse::<u64>().ok()
    };
    statuses.filter_map(count).sum()
}

/// The most memory that a process has had in use at one time, in bytes, shared memory included.
pub fn peak_bytes(pid: u32) -> u64 {
    bytes_of(pid, "VmHWM:")
}

/// What it has in use now.
pub fn resident_bytes(pid: u32) -> u64 {
    bytes_of(pid, "VmRSS:")
}

fn bytes_of(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("every process has one");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib << 10
}

/// Files in `/dev/shm` and `/tmp` that carry our name, and no others.
pub fn files_of_ours() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["/dev/shm", "/tmp"] {
        // A system without the folder has nothing in it.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("mmap-rpc") || name.contains("mmap_rpc") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn an_open_file_is_one_more_descriptor() {
        let pid = std::process::id();
        let count = || descriptors(pid).iter().filter(|target| target.ends_with("/proc/version")).count();
        assert_eq!(count(), 0);
        let file = fs::File::open("/proc/version");
        assert_eq!(count(), 1);
        drop(file);
    }

    #[test]
    fn work_shows_as_processor_time() {
        let pid = std::process::id();
        let (before, mut turns) = (cpu_ticks(pid), 0_u64);
        while cpu_ticks(pid) < before + 2 {
            turns = black_box(turns + 1);
            assert!(turns < 10_000_000, "nothing was counted");
        }
    }

    #[test]
    fn memory_that_is_written_counts() {
        let before = peak_bytes(std::process::id());
        drop(black_box(vec![1_u8; before as usize + (8 << 20)]));
        assert!(peak_bytes(std::process::id()) > before + (8 << 20));
        let resident = || resident_bytes(std::process::id());
        let before = resident();
        let kept = black_box(vec![1_u8; 64 << 20]);
        assert!(resident() > before + (32 << 20));
        drop(kept);
    }

    #[test]
    fn a_sleep_is_a_nap() {
        let before = naps(std::process::id());
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(naps(std::process::id()) > before);
    }
}
