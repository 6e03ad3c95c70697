//! Promise: with the feature `tracing` each call has one span on each side, with the fields that
//! OpenTelemetry names, and it is the current one where the call is worked on.
#![cfg(all(feature = "tracing", feature = "tokio"))]

#[path = "interceptors/site.rs"]
#[expect(dead_code, reason = "others use more of it")]
mod site;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use mmap_rpc::{IncomingCall, OutgoingCall, Reconnect, Status};
use testkit::interop::proto::{EchoStatus, SimpleRequest, StreamingOutputCallRequest, TestServiceClient};
use testkit::{channel_builder, eventually};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Span, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use site::{KINDS, Site, every_call, sites};

/// A span that has ended.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

struct Collect;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collect {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.name());
        let mut seen = Seen { name: span.name(), parent, fields: BTreeMap::new() };
        attributes.record(&mut seen);
        span.extensions_mut().insert(seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Seen>().unwrap());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let seen = context.span(&id).unwrap().extensions_mut().remove::<Seen>().unwrap();
        if seen.name.starts_with("rpc.") {
            SEEN.lock().unwrap().push(seen);
        }
    }
}

/// Waits until so many spans have ended, and takes them: the client's, then the server's, by method.
fn taken(count: usize) -> Vec<Seen> {
    eventually("spans end", || SEEN.lock().unwrap().len() >= count);
    let mut seen = std::mem::take(&mut *SEEN.lock().unwrap());
    assert_eq!(seen.len(), count, "{seen:#?}");
    seen.sort_by_key(|seen| (seen.name, KINDS.iter().position(|kind| kind[1..] == seen.fields["otel.name"])));
    seen
}

fn current() -> &'static str {
    Span::current().metadata().map_or("none", |metadata| metadata.name())
}

fn refuse_as_told(call: &mut IncomingCall) -> Result<(), Status> {
    assert_eq!(current(), "rpc.server.call");
    match call.metadata().get("x-fail") {
        Some("missing") => Err(Status::not_found("no such thing")),
        Some(_) => Err(Status::internal("broken")),
        None => Ok(()),
    }
}

fn look(_: &mut OutgoingCall) -> Result<(), Status> {
    assert_eq!(current(), "rpc.client.call");
    Ok(())
}

/// One test, because there is one place for all spans.
#[test]
fn each_call_has_a_span_on_each_side() {
    let subscriber = tracing_subscriber::registry().with(Collect);
    tracing::subscriber::set_global_default(subscriber).unwrap();

    for site in sites(|server| server.interceptor(refuse_as_told)) {
        let again = channel_builder().reconnect(Reconnect::default()).connect(site.path()).wait().unwrap();
        let channel = site.channel().intercepted(look);
        for (channel, awaited) in [(&channel, false), (&channel, true), (&again, false), (&again, true)] {
            {
                let _outer = info_span!("outer").entered();
                for (kind, outcome) in every_call(channel, awaited) {
                    outcome.unwrap_or_else(|status| panic!("{kind}, {site:?}: {status}"));
                }
            }
            let seen = taken(2 * KINDS.len());
            for (seen, kind) in seen.iter().zip(KINDS.into_iter().chain(KINDS)) {
                let (service, method) = kind[1..].split_once('/').unwrap();
                let of_client = seen.name == "rpc.client.call";
                assert_eq!(seen.parent, of_client.then_some("outer"), "{kind}, {site:?}");
                let expected = [
                    ("network.transport", "unix"),
                    ("otel.kind", if of_client { "client" } else { "server" }),
                    ("otel.name", &kind[1..]),
                    ("rpc.grpc.status_code", "0"),
                    ("rpc.method", method),
                    ("rpc.service", service),
                    ("rpc.system", "mmap_rpc"),
                ];
                let fields: Vec<_> = seen.fields.iter().map(|(key, value)| (*key, &**value)).collect();
                assert_eq!(fields, expected, "{kind}, {site:?}");
            }
        }
        failures_are_recorded(&site);
        failures_of_handlers_are_recorded(&site);
    }
    a_call_that_is_dropped_was_cancelled();
}

fn failures_are_recorded(site: &Site) {
    for (word, code, name, of_server) in [("missing", "5", "NOT_FOUND", false), ("", "13", "INTERNAL", true)]
    {
        let channel = site.channel().intercepted(move |call: &mut OutgoingCall| {
            call.metadata_mut().insert("x-fail", word).unwrap();
            Ok(())
        });
        for awaited in [false, true] {
            every_call(&channel, awaited);
            for seen in taken(2 * KINDS.len()) {
                assert_eq!(seen.fields["rpc.grpc.status_code"], code);
                let is_error = of_server || seen.name == "rpc.client.call";
                let field = |key: &str| seen.fields.get(key).map(|value| &**value);
                assert_eq!(field("error.type"), is_error.then_some(name), "{seen:?}");
                assert_eq!(field("otel.status_code"), is_error.then_some("ERROR"), "{seen:?}");
                assert_eq!(field("otel.status_description").is_some(), is_error, "{seen:?}");
            }
        }
    }
    // What the client refuses has no server.
    let refuse = site.channel().intercepted(|_: &mut OutgoingCall| Err(Status::aborted("no")));
    for awaited in [false, true] {
        every_call(&refuse, awaited);
        assert!(taken(KINDS.len()).iter().all(|seen| seen.fields["rpc.grpc.status_code"] == "10"));
    }
}

fn failures_of_handlers_are_recorded(site: &Site) {
    let client = TestServiceClient::new(site.channel());
    let status = Some(EchoStatus { code: 8, message: "full".into() });
    let unary = SimpleRequest { response_status: status.clone(), ..Default::default() };
    let many = StreamingOutputCallRequest { response_status: status, ..Default::default() };
    client.unary_call(unary.clone()).wait().unwrap_err();
    let stream = client.streaming_output_call(many.clone()).wait();
    assert!(stream.and_then(|stream| stream.into_inner().message().wait()).is_err());
    site::runtime().block_on(async {
        client.unary_call(unary).await.unwrap_err();
        if let Ok(stream) = client.streaming_output_call(many).await {
            stream.into_inner().message().await.unwrap_err();
        }
    });
    let seen = taken(8);
    assert!(seen.iter().all(|seen| seen.fields["rpc.grpc.status_code"] == "8"), "{site:?}: {seen:#?}");
}

fn a_call_that_is_dropped_was_cancelled() {
    let never = Duration::from_secs(1000);
    let site = Site::new(|server| server.interceptor(Never));
    let client = TestServiceClient::new(site.channel());
    drop(client.unary_call(SimpleRequest::default()).timeout(never).start().unwrap());
    drop(client.streaming_input_call().timeout(never).wait().unwrap());
    let seen = taken(4);
    assert!(seen.iter().all(|seen| seen.fields["rpc.grpc.status_code"] == "1"), "{seen:#?}");
}

/// Waits for ever.
struct Never;

impl mmap_rpc::Interceptor<IncomingCall> for Never {
    fn intercept<'a>(&'a self, _: &'a mut IncomingCall) -> mmap_rpc::Verdict<'a> {
        mmap_rpc::Verdict::later(std::future::pending())
    }
}
