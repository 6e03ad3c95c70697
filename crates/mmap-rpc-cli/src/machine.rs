//! What the machine is, and what it lets a process do: processors, limits, memory.

use std::fs;

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this thread may run on, in order.
///
/// # Errors
/// If the kernel does not say.
pub fn processors() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("cannot ask for the processors of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Lets this thread, and threads that it starts from now on, run on these processors only.
///
/// # Errors
/// If there are no such processors.
pub fn pin(cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        ensure!(cpu < CpuSet::MAX_CPU, "there is no processor {cpu}; see --pin");
        set.set(cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processor {cpus:?}; see --pin"))
}

/// Model of the processor, how many there are, and the kernel: one line.
pub fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let name = rustix::system::uname();
    let (system, release) = (name.sysname().to_string_lossy(), name.release().to_string_lossy());
    let cores = if count == 1 { "core" } else { "cores" };
    format!("{model}, {count} {cores}, {system} {release} {}", name.machine().to_string_lossy())
}

/// Raises the number of files that this process may have open to the most it may be raised to; returns it.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    // Fails only where the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(most)
}

/// How many files a process has open.
///
/// # Errors
/// If there is no such process, or it is another user's.
pub fn open_files(pid: u32) -> anyhow::Result<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).context("cannot count the files of a process")?;
    Ok(entries.count() as u64)
}

/// Memory that a process holds, in bytes; of what it shares with others, its part.
///
/// # Errors
/// If there is no such process, or it is another user's.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kibibytes(&text, "Pss:").with_context(|| format!("no proportional size in {path}"))
}

/// Memory that is free or can be made free, in bytes.
pub fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kibibytes(&text, "MemAvailable:").unwrap_or(0)
}

/// The value of a line `name   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number << 10)
}

/// The two processors of a measurement: those that were asked for, or the first two.
///
/// # Errors
/// If this process may not run on one of them.
pub fn choose(wanted: Option<[usize; 2]>) -> anyhow::Result<[usize; 2]> {
    let there = processors()?;
    match (wanted, &there[..]) {
        (Some(pair), _) => {
            if let Some(missing) = pair.iter().find(|cpu| !there.contains(cpu)) {
                bail!("--pin: there is no processor {missing} for this process; it may use {there:?}");
            }
            Ok(pair)
        }
        (None, [first, second, ..]) => Ok([*first, *second]),
        (None, [only]) => Ok([*only; 2]),
        (None, []) => bail!("this process may run on no processor at all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_kibibytes_are_found() {
        let text = "Rss:      12 kB\nPss:     3 kB\nPss_Anon: 1 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(3 << 10));
        assert_eq!(kibibytes(text, "Swap:"), None);
    }

    #[test]
    fn this_process_holds_memory_and_files() {
        let pid = std::process::id();
        assert!(resident(pid).unwrap() > 100 << 10);
        assert!(open_files(pid).unwrap() >= 3);
        assert!(available_memory() > 1 << 20);
    }

    #[test]
    fn processors_are_chosen_or_refused() {
        let there = processors().unwrap();
        let pair = choose(None).unwrap();
        assert!(pair.iter().all(|cpu| there.contains(cpu)));
        assert_eq!(choose(Some([there[0]; 2])).unwrap(), [there[0]; 2]);
        let error = choose(Some([there[0], 999])).unwrap_err().to_string();
        assert!(error.contains("no processor 999") && error.contains(&format!("{there:?}")), "{error}");
    }

    #[test]
    fn a_pinned_thread_runs_where_it_is_told() {
        let first = processors().unwrap()[0];
        let seen = std::thread::spawn(move || {
            pin(&[first]).unwrap();
            processors().unwrap()
        });
        assert_eq!(seen.join().unwrap(), [first]);
        assert!(pin(&[99_999]).is_err());
    }
}
