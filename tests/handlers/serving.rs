//! Servers that are awaited.

use std::sync::Arc;
use std::time::Duration;

use mmap_rpc::server::ServeError;
use mmap_rpc::{Channel, Code, Server, ServerBuilder, testing};
use testkit::PATIENCE;
use testkit::proto::{Blob, EchoClient, EchoServer, SleepRequest};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::service::Service;

fn server() -> (ServerBuilder, Arc<Service>) {
    let service = Arc::new(Service::default());
    (Server::builder().service(EchoServer::from_arc(service.clone())), service)
}

/// Connects to a server that is about to listen.
async fn client(path: &std::path::Path) -> EchoClient {
    loop {
        match Channel::connect(path).client().await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test]
async fn a_signal_ends_a_server_once_its_calls_have_finished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (server, service) = server();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(server.serve_with_shutdown(path.clone(), async {
        let _ = stopped.await;
    }));
    let client = client(&path).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.sleep(SleepRequest { milliseconds: 50 }).await }
    });
    while service.waiting() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send(()).unwrap();
    call.await.unwrap().expect("it had begun");
    timeout(PATIENCE, serving).await.expect("it ends").unwrap().unwrap();
    assert_eq!(client.echo(Blob::default()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_nobody_awaits_any_more_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (server, _) = server();
    let serving = tokio::spawn(server.serve(path.clone()));
    let client = client(&path).await;
    client.echo(Blob::default()).await.unwrap();
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let gone = async {
        while client.echo(Blob::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it ends");
}

#[tokio::test]
async fn a_server_that_cannot_be_bound_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no/such/directory/socket");
    let error = server().0.serve(&path).await.unwrap_err();
    assert!(matches!(error, ServeError::Bind(_)), "{error:?}");
    assert!(error.to_string().contains("create the directory first"), "{error}");
}

/// Client and server of one runtime with one thread: the handlers that wait share it with the calls.
#[tokio::test]
async fn one_thread_is_enough_for_a_pair() {
    let (server, _) = server();
    let pair = testing::pair(server).unwrap();
    let client = EchoClient::new(pair.channel());
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.sleep(SleepRequest { milliseconds: 5 }).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let data = testkit::noise(200_000, 1);
    assert_eq!(client.echo(Blob { data: data.clone() }).await.unwrap().into_inner().data, data);
}

/// The runtime of the handlers ends before the server does.
#[test]
fn calls_of_a_runtime_that_has_ended_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, service) = server();
    let pair = testing::pair(server.runtime(runtime.handle().clone())).unwrap();
    let client = EchoClient::new(pair.channel());
    let call = client.sleep(SleepRequest { milliseconds: u32::MAX }).start().unwrap();
    testkit::eventually("a handler waits", || service.waiting() == 1);
    runtime.shutdown_background();
    let status = call.wait().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    // What needs no runtime goes on.
    client.echo(Blob::default()).wait().unwrap();
}
