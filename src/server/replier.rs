//! What a handler of plain bytes is given beside its request.

use std::fmt;

use crate::raw::Loan;
use crate::rpc::Status;
use crate::server::caller::Caller;

/// What a raw handler builds its answer with.
pub struct Replier<'a> {
    caller: Caller<'a>,
}

impl<'a> Replier<'a> {
    pub(super) fn new(caller: Caller<'a>) -> Self {
        Self { caller }
    }

    /// Takes `len` bytes of the memory that the answer will travel in.
    ///
    /// Never waits: while everything is in use the loan is ordinary memory, and the answer is copied once
    /// there is room.
    ///
    /// # Errors
    /// `ResourceExhausted` naming the limit, if no answer may be that long.
    pub fn loan(&self, len: usize) -> Result<Loan, Status> {
        self.caller.loan(len)
    }
}

impl fmt::Debug for Replier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").finish_non_exhaustive()
    }
}
