//! The health service tells what was reported, by name, and keeps to gRPC's words for what was not.

#[path = "health/watch.rs"]
mod watch;

use std::collections::HashMap;

use mmap_rpc::health::{
    Health, HealthCheckRequest, HealthCheckResponse, HealthClient, HealthListRequest, NAME, ServingStatus,
};
use mmap_rpc::prost_types::FileDescriptorSet;
use mmap_rpc::server::Service as _;
use mmap_rpc::testing::{self, Pair};
use mmap_rpc::{Code, Server, Status};
use prost::Message;
use testkit::PATIENCE;

fn check(client: &HealthClient, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.into() };
    Ok(client.check(request).timeout(PATIENCE).wait()?.get_ref().status())
}

fn serve(health: Health) -> (Pair, HealthClient) {
    let pair = testing::pair(Server::builder().service(health)).unwrap();
    let client = HealthClient::new(pair.channel());
    (pair, client)
}

#[test]
fn a_service_has_the_status_that_was_set_last() {
    let (health, reporter) = Health::new();
    reporter.set_not_serving("a.Early");
    let (_pair, client) = serve(health);
    assert_eq!(check(&client, "").unwrap(), ServingStatus::Serving, "the whole server, from the start");
    assert_eq!(check(&client, "a.Early").unwrap(), ServingStatus::NotServing);

    reporter.set_serving("a.Early");
    assert_eq!(check(&client, "a.Early").unwrap(), ServingStatus::Serving);
    reporter.clone().set_not_serving("");
    assert_eq!(check(&client, "").unwrap(), ServingStatus::NotServing);
    assert_eq!(check(&client, "a.Early").unwrap(), ServingStatus::Serving, "each by itself");
}

#[test]
fn what_has_no_status_is_not_found_by_its_name() {
    let (health, reporter) = Health::new();
    let (_pair, client) = serve(health);
    let unknown = |service| {
        let status = check(&client, service).unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains(&format!("{service:?}")), "{status}");
    };
    unknown("a.B");
    reporter.set_serving("a.B");
    check(&client, "a.B").unwrap();
    unknown("a.b");
    reporter.clear("a.B");
    unknown("a.B");
    reporter.clear("");
    unknown("");
}

#[test]
fn after_a_drain_nothing_serves_again() {
    let (health, reporter) = Health::new();
    let (_pair, client) = serve(health);
    reporter.set_serving("a.B");
    reporter.drain();
    for service in ["", "a.B"] {
        assert_eq!(check(&client, service).unwrap(), ServingStatus::NotServing);
        reporter.set_serving(service);
        assert_eq!(check(&client, service).unwrap(), ServingStatus::NotServing);
    }
    reporter.set_serving("a.Late");
    assert_eq!(check(&client, "a.Late").unwrap(), ServingStatus::NotServing);
}

#[test]
fn a_server_that_is_shut_down_is_unavailable() {
    let (health, _) = Health::new();
    let (pair, client) = serve(health);
    check(&client, "").unwrap();
    drop(pair);
    assert_eq!(check(&client, "").unwrap_err().code(), Code::Unavailable);
}

#[test]
fn every_status_is_listed_up_to_the_protocols_hundred() {
    let (health, reporter) = Health::new();
    let (_pair, client) = serve(health);
    reporter.set_not_serving("a.B");
    let list = || client.list(HealthListRequest {}).timeout(PATIENCE).wait();
    let status = |status: ServingStatus| HealthCheckResponse { status: status.into() };
    let expected = [("", ServingStatus::Serving), ("a.B", ServingStatus::NotServing)];
    let expected: HashMap<_, _> = expected.map(|(name, it)| (name.to_owned(), status(it))).into();
    assert_eq!(list().unwrap().into_inner().statuses, expected);

    (0..98).for_each(|number| reporter.set_serving(format!("a.S{number}")));
    assert_eq!(list().unwrap().get_ref().statuses.len(), 100);
    reporter.set_serving("a.Last");
    let refused = list().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("101 statuses"), "{refused}");
}

/// Other implementations agree on these, whatever our file says.
#[test]
fn names_and_numbers_are_those_of_the_standard() {
    let (health, _) = Health::new();
    let set = FileDescriptorSet::decode(health.descriptors()).unwrap();
    let [file] = &set.file[..] else { panic!("one file") };
    let service = &file.service[0];
    assert_eq!(format!("{}.{}", file.package(), service.name()), NAME);
    let methods = service.method.iter().map(|method| {
        let (request, response) = (method.input_type(), method.output_type());
        (method.name(), request, response, method.client_streaming(), method.server_streaming())
    });
    let request = ".grpc.health.v1.HealthCheckRequest";
    let response = ".grpc.health.v1.HealthCheckResponse";
    let lists = (".grpc.health.v1.HealthListRequest", ".grpc.health.v1.HealthListResponse");
    let expected = [
        ("Check", request, response, false, false),
        ("List", lists.0, lists.1, false, false),
        ("Watch", request, response, false, true),
    ];
    assert!(methods.eq(expected), "{service:#?}");
    let full = service.method.iter().map(|method| format!("/{NAME}/{}", method.name()));
    assert!(full.eq(health.methods().iter().copied()));

    let encoded = HealthCheckRequest { service: "a".into() }.encode_to_vec();
    assert_eq!(encoded, [0x0a, 1, b'a']);
    let statuses = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
    for (number, name) in statuses.into_iter().enumerate() {
        let status = ServingStatus::from_str_name(name).unwrap();
        assert_eq!(status as usize, number);
    }
    let encoded = HealthCheckResponse { status: ServingStatus::NotServing.into() }.encode_to_vec();
    assert_eq!(encoded, [0x08, 2]);
}
