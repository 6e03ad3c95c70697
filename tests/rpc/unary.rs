//! Calls of one request and one response.

use mmap_rpc::{Code, Request};
use testkit::PATIENCE;
use testkit::interop::proto::{
    Empty, SimpleRequest, SimpleResponse, TestServiceServer, UnimplementedServiceClient,
};
use testkit::interop::{Service, payload};

use crate::streams::{assert_echoed, metadata_to_echo};
use crate::{Site, via};

pub(crate) fn simple(request: usize, response: usize) -> SimpleRequest {
    SimpleRequest { response_size: response as i32, payload: Some(payload(request)), response_status: None }
}

pub(crate) async fn empty_unary(site: &Site) {
    let client = site.client();
    let response = via!(site, client.empty_call(Empty {}).timeout(PATIENCE)).unwrap();
    assert_eq!(response.get_ref(), &Empty {});
    assert!(response.metadata().is_empty() && response.trailers().is_empty());
}

pub(crate) async fn large_unary(site: &Site) {
    let client = site.client();
    for (sent, returned) in [(271_828, 314_159), (0, 5 << 20), (5 << 20, 0)] {
        let call = client.unary_call(simple(sent, returned)).timeout(PATIENCE);
        let SimpleResponse { payload: answer } = via!(site, call).unwrap().into_inner();
        assert!(answer == Some(payload(returned)), "{returned} bytes");
    }
}

pub(crate) async fn custom_metadata(site: &Site) {
    let client = site.client();
    for size in [0, 50, 314_159] {
        let mut request = Request::new(simple(size, size));
        *request.metadata_mut() = metadata_to_echo();
        let response = via!(site, client.unary_call(request).timeout(PATIENCE)).unwrap();
        assert_echoed(response.metadata(), response.trailers());
        assert!(response.into_inner().payload == Some(payload(size)));
    }
}

/// A method that the server lacks of a service that it has, called in every shape.
pub(crate) async fn unimplemented_method(site: &Site) {
    let client = site.client();
    let channel = client.channel();
    let method = channel.method("/grpc.testing.TestService/UnimplementedCall");
    let call = channel.unary::<Empty, Empty>(&method, Empty {}.into()).timeout(PATIENCE);
    assert_eq!(via!(site, call).unwrap_err().code(), Code::Unimplemented);

    let call = channel.server_streaming::<Empty, Empty>(&method, Empty {}.into()).timeout(PATIENCE);
    assert_eq!(via!(site, call).unwrap_err().code(), Code::Unimplemented);

    let call = channel.client_streaming::<Empty, Empty>(&method).timeout(PATIENCE);
    assert_eq!(via!(site, call).unwrap_err().code(), Code::Unimplemented);

    let call = channel.bidi_streaming::<Empty, Empty>(&method).timeout(PATIENCE);
    assert_eq!(via!(site, call).unwrap_err().code(), Code::Unimplemented);

    // The methods that it has go on.
    assert!(TestServiceServer::<Service>::METHODS.contains(&"/grpc.testing.TestService/EmptyCall"));
    via!(site, client.empty_call(Empty {}).timeout(PATIENCE)).unwrap();
}

pub(crate) async fn unimplemented_service(site: &Site) {
    let client = UnimplementedServiceClient::new(site.client().channel().clone());
    let call = client.unimplemented_call(Empty {}).timeout(PATIENCE);
    assert_eq!(via!(site, call).unwrap_err().code(), Code::Unimplemented);
}
