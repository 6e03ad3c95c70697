//! Promise: calls of every shape do what gRPC's interoperability tests ask of them, whether threads or tasks
//! make them and whether threads or tasks serve them.
//!
//! The cases are functions of a [`Site`], named as those of gRPC where it has them. Each becomes a test for
//! every pair of a driver and a kind of handlers, and on every lane.
#![cfg(feature = "tokio")]

#[path = "rpc/ends.rs"]
mod ends;
#[path = "rpc/many.rs"]
mod many;
#[path = "rpc/site.rs"]
mod site;
#[path = "rpc/statuses.rs"]
mod statuses;
#[path = "rpc/streams.rs"]
mod streams;
#[path = "rpc/unary.rs"]
mod unary;

pub(crate) use site::{Driver, Handlers, Site, via};
use testkit::Way;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("interop server", site::serve), ("interop client", ends::client)]);
}

/// The table: rows are cases, columns who calls and who serves. Every pair of these calls through rings; on
/// the other lanes, where messages travel in another way and waiting is the same, threads call threads, and
/// tasks tasks.
macro_rules! cases {
    ($($room:ident::$case:ident),+ $(,)?) => {
        cases!(@ threads_call_threads, Ring, Blocking, Blocking, $($room::$case)+);
        cases!(@ threads_call_tasks, Ring, Blocking, Async, $($room::$case)+);
        cases!(@ tasks_call_threads, Ring, Awaited, Blocking, $($room::$case)+);
        cases!(@ tasks_call_tasks, Ring, Awaited, Async, $($room::$case)+);
        cases!(@ threads_on_the_socket_lane, Socket, Blocking, Blocking, $($room::$case)+);
        cases!(@ tasks_on_the_socket_lane, Socket, Awaited, Async, $($room::$case)+);
        cases!(@ threads_with_a_file, File, Blocking, Blocking, $($room::$case)+);
        cases!(@ tasks_with_a_file, File, Awaited, Async, $($room::$case)+);
    };
    (@ $column:ident, $way:ident, $driver:ident, $handlers:ident, $($room:ident::$case:ident)+) => {
        mod $column {
            use super::{Driver, Handlers, Site, Way};
            $(
                #[test]
                fn $case() {
                    testkit::by(Way::$way, || {
                        Site::run(Driver::$driver, Handlers::$handlers, super::$room::$case);
                    });
                }
            )+
        }
    };
}

cases![
    unary::empty_unary,
    unary::large_unary,
    unary::custom_metadata,
    unary::unimplemented_method,
    unary::unimplemented_service,
    streams::server_streaming_of_none,
    streams::server_streaming_of_one,
    streams::server_streaming,
    streams::server_streaming_of_many,
    streams::client_streaming_of_none,
    streams::client_streaming_of_one,
    streams::client_streaming,
    streams::client_streaming_of_many,
    streams::empty_stream,
    streams::ping_pong,
    streams::full_duplex_of_many,
    streams::messages_sent_at_once,
    streams::large_messages,
    streams::the_client_ends_first,
    streams::the_server_ends_first,
    streams::metadata_of_streams,
    statuses::status_code_and_message,
    statuses::special_status_message,
    statuses::a_failure_behind_responses,
    statuses::metadata_of_failures,
    ends::cancel_after_begin,
    ends::cancel_after_first_response,
    ends::responses_that_nobody_reads,
    ends::timeout_on_sleeping_server,
    ends::a_deadline_ends_a_handler_that_waits_for_requests,
    ends::a_deadline_ends_a_handler_whose_responses_nobody_reads,
    ends::a_deadline_ends_a_sender_that_waits,
    ends::a_sender_that_waits_is_told_that_the_call_was_given_up,
    ends::a_sender_that_waits_is_told_that_the_server_died,
    ends::the_server_dies,
    ends::the_client_dies,
    many::mixed_calls,
];
