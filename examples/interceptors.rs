//! Interceptors on both sides: a token that is asked for, and a trace that goes from the caller to the
//! handler.
//!
//! `cargo run --example interceptors` prints what each side sees of three calls.
//!
//! The trace is a `traceparent` of the W3C, made by hand here. With `tracing-opentelemetry` the client's
//! interceptor injects the context of `Span::current()`, and the server's gives that of the metadata to
//! `Span::current().set_parent(…)`: with the feature `tracing` both run inside the span of their call.

use std::cell::RefCell;
use std::collections::HashMap;

use mmap_rpc::{Channel, IncomingCall, Interceptor, OutgoingCall, Server, Status, Verdict, testing};

const WHO: &str = "/demo.Names/Who";

thread_local! {
    /// What the thread works on: a trace and a span of it.
    static TRACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Client: says which trace the call belongs to.
fn propagate(call: &mut OutgoingCall) -> Result<(), Status> {
    if let Some(trace) = TRACE.with_borrow(Clone::clone) {
        say(call, "traceparent", trace)?;
    }
    Ok(())
}

/// Client: shows who calls.
fn with_token(token: &'static str) -> impl Interceptor<OutgoingCall> {
    move |call: &mut OutgoingCall| say(call, "authorization", format!("Bearer {token}"))
}

fn say(call: &mut OutgoingCall, key: &str, value: String) -> Result<(), Status> {
    call.metadata_mut().insert(key, value).map_err(|error| Status::internal(error.to_string()))
}

/// Server: prints what comes in.
fn log(call: &mut IncomingCall) -> Result<(), Status> {
    let trace = call.metadata().get("traceparent").unwrap_or("no trace");
    println!("server: {} of user {}, {trace}", call.method(), call.peer().uid);
    Ok(())
}

/// Server: finds out whose token it is, and tells the handler.
struct Tokens(HashMap<&'static str, &'static str>);

impl Tokens {
    /// Stands for a question to a database: that is why it is async.
    async fn owner(&self, token: &str) -> Option<&'static str> {
        self.0.get(token).copied()
    }
}

impl Interceptor<IncomingCall> for Tokens {
    fn intercept<'a>(&'a self, call: &'a mut IncomingCall) -> Verdict<'a> {
        Verdict::later(async move {
            let authorization = call.metadata().get("authorization").unwrap_or_default();
            let Some(token) = authorization.strip_prefix("Bearer ") else {
                return Err(Status::unauthenticated("a token is needed"));
            };
            let Some(owner) = self.owner(token).await else {
                return Err(Status::permission_denied("nobody's token"));
            };
            // Takes the place of whatever the client says there.
            call.metadata_mut().insert("x-owner", owner).map_err(|error| Status::internal(error.to_string()))
        })
    }
}

fn call(channel: &Channel) {
    match channel.raw(&channel.method(WHO), b"").wait() {
        Ok(reply) => println!("client: {}", String::from_utf8_lossy(&reply.to_vec())),
        Err(status) => println!("client: {status}"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder()
        .interceptor(log)
        .interceptor(Tokens(HashMap::from([("s3cret", "Ada")])))
        .raw(WHO, |request, _| {
            let owner = request.metadata().get("x-owner").ok_or_else(|| Status::internal("no owner"))?;
            Ok(format!("you are {owner}").into_bytes().into())
        });
    // As between two processes, which would use `bind` and `connect`.
    let pair = testing::pair(server)?;
    let channel = pair.channel().intercepted(propagate);
    TRACE.set(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()));

    call(&channel);
    call(&channel.intercepted(with_token("guessed")));
    call(&channel.intercepted(with_token("s3cret")));
    Ok(())
}
