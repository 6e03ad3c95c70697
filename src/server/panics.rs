//! Handlers that panic: who is told of it, and what.

use std::any::Any;

use crate::rpc::Status;
use crate::server::caller::Caller;

/// Tells the server's log.
#[cold]
pub(super) fn log_panic(caller: Caller<'_>, method: u32, panic: &(dyn Any + Send)) {
    let connection = caller.connection_id();
    tracing::error!(%connection, method, panic = text_of(panic), "a handler panicked");
}

/// Tells the client.
#[cold]
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> Status {
    Status::internal(format!("the handler panicked: {}", text_of(panic)))
}

pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
