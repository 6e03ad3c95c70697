//! Promise: a channel that reconnects serves its callers as long as there is a server at the path, whichever
//! process that is: calls that were not sent go to it, those under way fail, and nothing hangs.
#![cfg(feature = "tokio")]

#[path = "reconnect/calls.rs"]
mod calls;
#[path = "reconnect/servers.rs"]
mod servers;
#[path = "reconnect/states.rs"]
mod states;
#[path = "reconnect/storms.rs"]
mod storms;

#[test]
#[ignore = "a role that other tests start as a process"]
fn testkit_child() {
    testkit::child::run(&[("site", servers::site)]);
}
