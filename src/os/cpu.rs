//! Which processor runs us.

/// The CPU this thread runs on right now. A hint: the thread may have moved before the caller looks at it.
///
/// Costs no system call on the common architectures (vDSO).
pub(crate) fn current_cpu() -> u32 {
    rustix::thread::sched_getcpu() as u32
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    #[test]
    fn a_pinned_thread_finds_itself_where_it_was_pinned() {
        // Affinity belongs to the thread, so it ends with this one.
        std::thread::spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            for cpu in (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)) {
                let mut one = CpuSet::new();
                one.set(cpu);
                sched_setaffinity(None, &one).unwrap();
                assert_eq!(current_cpu() as usize, cpu);
            }
        })
        .join()
        .unwrap();
    }
}
