//! Where the sending halves of calls wait: numbers beside those of the call cells.
//!
//! Not the numbers of their calls: a sender may outlive its call, and be waiting while the cell is another
//! call's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::core::Core;
use crate::rpc::Status;

/// The numbers of one channel, as many as there may be calls. A lock, because each is taken once a call.
#[derive(Debug)]
pub(in crate::client) struct Places {
    /// The first of them, and one past the last.
    range: (usize, usize),
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    /// Those that were taken and given back.
    free: Vec<usize>,
    /// The first of those that never were.
    fresh: usize,
}

impl Places {
    /// The `count` numbers from `first` on.
    pub(in crate::client) fn new(first: usize, count: usize) -> Self {
        Self {
            range: (first, first + count),
            numbers: Mutex::new(Numbers { free: Vec::new(), fresh: first }),
        }
    }

    fn take(&self) -> Option<usize> {
        let mut numbers = self.lock();
        if let Some(number) = numbers.free.pop() {
            return Some(number);
        }
        let number = numbers.fresh;
        (number < self.range.1).then(|| {
            numbers.fresh += 1;
            number
        })
    }

    fn give_back(&self, number: usize) {
        self.lock().free.push(number);
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // A number is in the list or not.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of a sender's own, as long as it lives.
pub(super) struct Place {
    core: Arc<Core>,
    number: usize,
}

impl Place {
    /// # Errors
    /// If as many senders are held as calls may be under way.
    pub(super) fn take(core: &Arc<Core>) -> Result<Self, Status> {
        let number = core.sender_places.take().ok_or_else(|| {
            let (first, end) = core.sender_places.range;
            Status::resource_exhausted(format!(
                "{} senders are held on this channel, one for each call of the agreed max_in_flight; drop those \
                 whose calls are over, or raise max_in_flight on both sides",
                end - first
            ))
        })?;
        Ok(Self { core: core.clone(), number })
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.sender_places.give_back(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once_until_it_is_given_back() {
        let places = Places::new(7, 2);
        assert_eq!([places.take(), places.take(), places.take()], [Some(7), Some(8), None]);
        places.give_back(7);
        assert_eq!([places.take(), places.take()], [Some(7), None]);
    }
}
