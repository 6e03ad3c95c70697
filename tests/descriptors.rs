//! A server tells what its services are: whole, with comments, once; and only if it has something to tell.

use mmap_rpc::descriptors::{GET, GetRequest, GetResponse, NAME};
use mmap_rpc::prost_types::{FileDescriptorProto, FileDescriptorSet};
use mmap_rpc::server::{Exchange, Handled, Service as AnyService};
use mmap_rpc::testing::{self, PairError};
use mmap_rpc::{Channel, Code, Request, Server, ServerBuilder, Status};
use prost::Message;
use testkit::PATIENCE;
use testkit::echo::{self, RAW_ECHO, Service};
use testkit::proto::EchoServer;

fn ask(channel: &Channel) -> Result<GetResponse, Status> {
    let call = channel.unary(&channel.method(GET), Request::new(GetRequest {}));
    Ok(call.timeout(PATIENCE).wait()?.into_inner())
}

fn told_by(server: ServerBuilder) -> Result<GetResponse, Status> {
    ask(&testing::pair(server).unwrap().channel())
}

fn files(told: &GetResponse) -> Vec<FileDescriptorProto> {
    told.files.iter().map(|file| FileDescriptorProto::decode(file.clone()).unwrap()).collect()
}

/// A service without methods that carries whatever it is given.
struct Carrier(&'static [u8]);

impl AnyService for Carrier {
    fn name(&self) -> &'static str {
        "a.Carrier"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    fn descriptors(&self) -> &'static [u8] {
        self.0
    }

    fn call(&self, _: usize, exchange: Exchange<'_>) -> Handled {
        exchange.unimplemented()
    }
}

#[test]
fn all_methods_are_named_and_those_of_services_described() {
    let told = told_by(echo::serve(Server::builder(), Default::default())).unwrap();
    let methods = EchoServer::<Service>::METHODS.into_iter();
    let methods = methods.chain([RAW_ECHO, echo::RAW_HALF, echo::RAW_GARBAGE, GET]);
    assert!(told.methods.iter().eq(methods), "ours comes last: {:?}", told.methods);

    let files = files(&told);
    let names: Vec<_> = files.iter().map(FileDescriptorProto::name).collect();
    assert_eq!(names, ["echo.proto", "mmap_rpc/descriptors.proto"]);
    let carried = FileDescriptorSet::decode(EchoServer::<Service>::FILE_DESCRIPTOR_SET).unwrap();
    assert_eq!(files[..1], carried.file[..]);
    let comments = files[0].source_code_info.as_ref().unwrap().location.iter();
    assert!(comments.map(|at| at.leading_comments()).any(|text| text == " Returns what it got.\n"));
    let own = &files[1];
    assert_eq!(format!("{}.{}", own.package(), own.service[0].name()), NAME);
    assert_eq!(format!("/{NAME}/{}", own.service[0].method[0].name()), GET);
}

#[test]
fn two_services_of_one_package_are_described_once() {
    let server = Server::builder().service(EchoServer::blocking(Service::default()));
    let twice = server.service(Carrier(EchoServer::<Service>::FILE_DESCRIPTOR_SET));
    assert_eq!(told_by(twice).unwrap().files.len(), 2);
}

#[test]
fn a_server_that_describes_nothing_has_no_such_method() {
    let raw = || Server::builder().raw("/a.B/C", |_, _| Ok((&b""[..]).into()));
    let echo = Server::builder().service(EchoServer::blocking(Service::default()));
    for server in [raw(), raw().service(Carrier(&[])), echo.descriptors(false)] {
        assert_eq!(told_by(server).unwrap_err().code(), Code::Unimplemented);
    }
}

#[test]
fn what_cannot_be_told_is_refused_before_anybody_asks() {
    let refused = |server| match testing::pair(server) {
        Err(PairError::Server(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let echo = || Server::builder().service(EchoServer::blocking(Service::default()));
    let text = refused(echo().service(Carrier(b"no set")));
    assert!(text.contains("the descriptors of a.Carrier do not decode"), "{text}");
    let text = refused(echo().raw(GET, |_, _| Ok((&b""[..]).into())));
    assert!(text.contains(&format!("{GET} was added twice")), "{text}");
    // Descriptors alone are nothing to serve.
    let text = refused(Server::builder().service(Carrier(EchoServer::<Service>::FILE_DESCRIPTOR_SET)));
    assert!(text.contains("no methods"), "{text}");
}

testkit::on_every_way!(descriptors_go_every_way);

fn descriptors_go_every_way() {
    let server = testkit::LocalServer::default_settings();
    let told = ask(&testkit::connect(server.path()).unwrap()).unwrap();
    assert_eq!(files(&told).len(), 2);
}
