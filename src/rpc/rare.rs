//! A value that is mostly not there.

use std::fmt;
use std::mem::ManuallyDrop;

/// A `T`, or nothing: one word, and to drop nothing is one look, in line with whoever drops it.
///
/// An `Option<Box<T>>` is as wide, but is dropped by a call where `T` is more than a few bytes, and messages
/// with what belongs to them are dropped with each call.
pub(super) struct Rare<T>(ManuallyDrop<Option<Box<T>>>);

impl<T> Rare<T> {
    pub(super) const NONE: Self = Self(ManuallyDrop::new(None));

    pub(super) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(Some(Box::new(value))))
    }

    #[inline(always)]
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    pub(super) fn take(&mut self) -> Option<T> {
        self.0.take().map(|value| *value)
    }
}

impl<T: Default> Rare<T> {
    pub(super) fn get_or_default(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T> Drop for Rare<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            drop_value(self.0.take());
        }
    }
}

#[cold]
fn drop_value<T>(value: Option<Box<T>>) {
    drop(value);
}

impl<T: Clone> Clone for Rare<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.get().map_or(Self::NONE, |value| Self::new(value.clone()))
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for Rare<T> {}

impl<T: fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_is_there_is_dropped_once() {
        let value = Rc::new(());
        let rare = Rare::new(value.clone());
        let mut twin = rare.clone();
        assert_eq!((Rc::strong_count(&value), rare == twin), (3, true));
        assert!(twin.take().is_some() && twin.take().is_none() && twin == Rare::NONE);
        drop((rare, twin));
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn it_is_one_word_wide() {
        assert_eq!(size_of::<Rare<[u64; 9]>>(), size_of::<usize>());
    }
}
