//! The probe: whether a server wants to be called, as an exit code.

use mmap_rpc::health::{HealthCheckRequest, HealthClient, ServingStatus};
use mmap_rpc::{Code, Request};

use super::text;
use crate::args::Health;

/// What a probe found, by its exit code. 2 is the code of a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It wants to be called.
    Serving = 0,
    /// It says that it does not.
    NotServing = 1,
    /// It cannot be reached, or does not answer.
    NoAnswer = 3,
    /// It answers, and has no health service or no status for this name.
    Unknown = 4,
}

/// Asks a server for its health. Returns what was found, and a line that says it.
pub fn probe(options: &Health) -> (Verdict, String) {
    let (verdict, text) = ask(options);
    (verdict, text::harmless(&text))
}

fn ask(options: &Health) -> (Verdict, String) {
    let socket = options.target.socket.display();
    let client: HealthClient = match super::connect(&options.target) {
        Ok(channel) => channel.into(),
        Err(error) => return (Verdict::NoAnswer, error.to_string()),
    };
    let service = options.service.clone().unwrap_or_default();
    let request = Request::new(HealthCheckRequest { service });
    match client.check(request).timeout(options.target.timeout).wait() {
        Ok(reply) => {
            let status = reply.get_ref().status();
            let serving = status == ServingStatus::Serving;
            let verdict = if serving { Verdict::Serving } else { Verdict::NotServing };
            (verdict, status.as_str_name().to_owned())
        }
        Err(status) => match status.code() {
            Code::NotFound => (Verdict::Unknown, format!("{socket}: {status}")),
            Code::Unimplemented => (Verdict::Unknown, format!("{socket}: this server has no health service")),
            _ => (Verdict::NoAnswer, format!("{socket}: {status}")),
        },
    }
}
