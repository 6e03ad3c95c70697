//! The probe: whether a server wants to be called, as an exit code.

use std::io;

use mmap_rpc::health::{HealthCheckRequest, HealthCheckResponse, HealthClient, ServingStatus};
use mmap_rpc::{Code, Request, Status};

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

/// Watches the health of a server, and has each status shown as it comes. Returns once the server is gone, or
/// nobody looks any more, what was found then, and a line that says it.
pub fn watch(options: &Health, mut show: impl FnMut(&str) -> io::Result<()>) -> (Verdict, String) {
    let client = match connect(options) {
        Ok(client) => client,
        Err(outcome) => return outcome,
    };
    let failed = |status: &Status| {
        let (verdict, text) = failure(options, status);
        (verdict, text::harmless(&text))
    };
    let mut statuses = match client.watch(request(options)).wait() {
        Ok(statuses) => statuses.into_inner(),
        Err(status) => return failed(&status),
    };
    loop {
        match statuses.message().wait() {
            Ok(Some(response)) => {
                let (verdict, text) = told(&response);
                if let Err(error) = show(&text) {
                    return (verdict, error.to_string());
                }
            }
            Ok(None) => return failed(&Status::unavailable("the server watches no longer")),
            Err(status) => return failed(&status),
        }
    }
}

fn ask(options: &Health) -> (Verdict, String) {
    let client = match connect(options) {
        Ok(client) => client,
        Err(outcome) => return outcome,
    };
    match client.check(request(options)).timeout(options.target.timeout).wait() {
        Ok(reply) => told(reply.get_ref()),
        Err(status) => failure(options, &status),
    }
}

fn connect(options: &Health) -> Result<HealthClient, (Verdict, String)> {
    let channel = super::connect(&options.target);
    channel.map(HealthClient::new).map_err(|error| (Verdict::NoAnswer, text::harmless(&error.to_string())))
}

fn request(options: &Health) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: options.service.clone().unwrap_or_default() })
}

fn told(response: &HealthCheckResponse) -> (Verdict, String) {
    let status = response.status();
    let verdict = match status {
        ServingStatus::Serving => Verdict::Serving,
        _ => Verdict::NotServing,
    };
    (verdict, status.as_str_name().to_owned())
}

fn failure(options: &Health, status: &Status) -> (Verdict, String) {
    let socket = options.target.socket.display();
    match status.code() {
        Code::NotFound => (Verdict::Unknown, format!("{socket}: {status}")),
        Code::Unimplemented => (Verdict::Unknown, format!("{socket}: this server has no health service")),
        _ => (Verdict::NoAnswer, format!("{socket}: {status}")),
    }
}
