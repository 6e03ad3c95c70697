//! Promise: an interceptor sees each call once, of every kind, on either side; what it changes arrives, what
//! it refuses goes no further, and while it waits nobody else does.
#![cfg(feature = "tokio")]

#[path = "interceptors/site.rs"]
mod site;
#[path = "interceptors/waiting.rs"]
mod waiting;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mmap_rpc::server::Intercepted;
use mmap_rpc::{Channel, Code, IncomingCall, MetadataMap, OutgoingCall, Reconnect, Server, Status, testing};
use testkit::interop::proto::{SimpleRequest, TestServiceClient, TestServiceServer};
use testkit::interop::{self, ECHO_INITIAL};
use testkit::proto::{Blob, EchoClient, EchoServer};
use testkit::{channel_builder, echo};

use site::{KINDS, Site, every_call, sites, unary};
use waiting::{
    a_call_that_is_given_up_is_looked_at_no_more, interceptors_wait_on_both_sides, large_requests_wait_too,
    others_are_served_meanwhile, the_deadline_ends_the_wait, without_a_runtime_the_thread_waits,
};

testkit::on_every_way![
    each_side_sees_every_call,
    what_a_client_refuses_is_not_sent,
    what_a_server_refuses_fails_with_all_that_it_says,
    a_handler_sees_what_the_server_has_changed,
    interceptors_run_in_the_order_in_which_they_were_added,
    a_service_has_interceptors_of_its_own,
    a_deadline_can_be_changed,
    a_panic_on_the_server_fails_the_call,
    a_channel_without_interceptors_is_left_alone,
    interceptors_wait_on_both_sides,
    others_are_served_meanwhile,
    a_call_that_is_given_up_is_looked_at_no_more,
    the_deadline_ends_the_wait,
    without_a_runtime_the_thread_waits,
    large_requests_wait_too,
];

type Log = Arc<Mutex<Vec<String>>>;

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn each_side_sees_every_call() {
    let (sent, came) = (Log::default(), Log::default());
    let log = came.clone();
    let look = move |call: &mut IncomingCall| {
        assert_eq!(call.peer().pid, std::process::id());
        assert_eq!(call.service(), call.method().strip_prefix('/').unwrap().split_once('/').unwrap().0);
        let (metadata, left) = (call.metadata().get("x-said"), call.remaining().is_some());
        log.lock().unwrap().push(format!("{} {metadata:?} {left}", call.method()));
        Ok(())
    };
    for site in sites(|server| server.interceptor(look.clone())) {
        for builder in [channel_builder(), channel_builder().reconnect(Reconnect::default())] {
            let log = sent.clone();
            let builder = builder.interceptor(move |call: &mut OutgoingCall| {
                log.lock().unwrap().push(format!("{} None {}", call.method(), call.deadline().is_some()));
                call.metadata_mut().insert("x-said", "yes").unwrap();
                Ok(())
            });
            for channel in
                [builder.clone().connect(site.path()).wait().unwrap(), builder.connect_lazy(site.path())]
            {
                for awaited in [false, true] {
                    for outcome in every_call(&channel, awaited) {
                        outcome.1.unwrap();
                    }
                    let expected = |said: &str| KINDS.map(|kind| format!("{kind} {said} true")).to_vec();
                    assert_eq!(taken(&sent), expected("None"), "{site:?}");
                    assert_eq!(taken(&came), expected("Some(\"yes\")"), "{site:?}");
                }
            }
        }
    }
}

fn what_a_client_refuses_is_not_sent() {
    let came = Log::default();
    let log = came.clone();
    let site = Site::new(|server| {
        server.interceptor(move |call: &mut IncomingCall| {
            log.lock().unwrap().push(call.method().to_owned());
            Ok(())
        })
    });
    let refuse = |_: &mut OutgoingCall| Err(Status::failed_precondition("not today"));
    let channel = site.channel().intercepted(refuse);
    for awaited in [false, true] {
        for (kind, outcome) in every_call(&channel, awaited) {
            let status = outcome.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not today"), "{kind}");
        }
    }
    unary(&site.channel()).unwrap();
    assert_eq!(taken(&came), [KINDS[0]]);
}

fn what_a_server_refuses_fails_with_all_that_it_says() {
    let refuse = |_: &mut IncomingCall| {
        let mut status = Status::with_details(Code::PermissionDenied, "not you", &b"why"[..]);
        status.metadata_mut().insert("x-hint", "ask").unwrap();
        Err(status)
    };
    for site in sites(|server| server.interceptor(refuse)) {
        for awaited in [false, true] {
            for (kind, outcome) in every_call(&site.channel(), awaited) {
                let status = outcome.unwrap_err();
                assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "not you"), "{kind}");
                assert_eq!(status.details(), &b"why"[..], "{kind}");
                assert_eq!(status.metadata().get("x-hint"), Some("ask"), "{kind}");
            }
        }
        assert_eq!(site.handled(), 0, "no handler ran: {site:?}");
    }
}

fn a_handler_sees_what_the_server_has_changed() {
    let change = |call: &mut IncomingCall| {
        let said = call.metadata().get("x-said").unwrap_or("nothing").to_owned();
        call.metadata_mut().clear();
        call.metadata_mut().insert(ECHO_INITIAL, said).unwrap();
        Ok(())
    };
    for site in sites(|server| server.interceptor(change)) {
        let plain = site.channel();
        let said = plain.intercepted(|call: &mut OutgoingCall| {
            call.metadata_mut().insert("x-said", "hello").unwrap();
            Ok(())
        });
        for size in [0, 50, 90, 200, 70_000, 2 << 20] {
            for (channel, expected) in [(&plain, "nothing"), (&said, "hello")] {
                let client = TestServiceClient::new(channel.clone());
                let payload = Some(testkit::interop::payload(size));
                let response =
                    client.unary_call(SimpleRequest { payload, ..Default::default() }).wait().unwrap();
                assert_eq!(response.metadata().get(ECHO_INITIAL), Some(expected), "{size} bytes");
                assert_eq!(response.metadata().len(), 1);
            }
        }
    }
}

fn interceptors_run_in_the_order_in_which_they_were_added() {
    let came = Log::default();
    let add = |number: &'static str| {
        move |call: &mut OutgoingCall| {
            call.metadata_mut().append("x-order", number).map_err(|error| Status::internal(error.to_string()))
        }
    };
    let see = |number: &'static str| {
        let log = came.clone();
        move |call: &mut IncomingCall| {
            let order: Vec<_> = call.metadata().get_all("x-order").map(|value| value.as_bytes()).collect();
            log.lock().unwrap().push(format!("{number} {}", String::from_utf8(order.concat()).unwrap()));
            Ok(())
        }
    };
    let site = Site::new(|server| server.interceptor(see("a")).interceptor(see("b")));
    let channel = channel_builder().interceptor(add("1")).interceptor(add("2"));
    let channel = channel.connect(site.path()).wait().unwrap().intercepted(add("3"));
    unary(&TestServiceClient::with_interceptor(channel, add("4")).channel().clone()).unwrap();
    assert_eq!(taken(&came), ["a 1234", "b 1234"]);
}

fn a_service_has_interceptors_of_its_own() {
    let came = Log::default();
    let see = |who: &'static str| {
        let log = came.clone();
        move |call: &mut IncomingCall| {
            log.lock().unwrap().push(format!("{who} {}", call.method()));
            if call.metadata().get("x-refuse") == Some(who) { Err(Status::aborted(who)) } else { Ok(()) }
        }
    };
    let (service, method) = (Arc::<echo::Service>::default(), "/testkit.Echo/Echo");
    for all in [true, false] {
        let site = Site::new(|server| {
            let server = if all { server.interceptor(see("all")) } else { server };
            let own = Intercepted::new(EchoServer::blocking_from_arc(service.clone()), see("first"));
            server.service(Intercepted::new(own, see("second")))
        });
        let channel = site.channel();
        let call = |channel: Channel| EchoClient::new(channel).echo(Blob::default()).wait().map(drop);
        call(channel.clone()).unwrap();
        let mut expected = vec![format!("first {method}"), format!("second {method}")];
        if all {
            expected.insert(0, format!("all {method}"));
        }
        assert_eq!(taken(&came), expected);
        // Those of others are not its business.
        unary(&channel).unwrap();
        assert_eq!(taken(&came), if all { vec![format!("all {}", KINDS[0])] } else { Vec::new() });

        let begun = service.begun();
        let refuse = |call: &mut OutgoingCall| {
            call.metadata_mut().insert("x-refuse", "first").unwrap();
            Ok(())
        };
        let refused = call(channel.intercepted(refuse)).unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Aborted, "first"));
        expected.pop();
        assert_eq!(taken(&came), expected);
        assert_eq!(service.begun(), begun);
    }
}

/// By each constructor that is generated.
#[test]
fn every_call_of_an_intercepted_service_is_looked_at() {
    let came = Log::default();
    let log = came.clone();
    let see = move |call: &mut IncomingCall| {
        log.lock().unwrap().push(call.method().to_owned());
        Ok(())
    };
    let service = interop::Service::default;
    let tasks = TestServiceServer::with_interceptor(service(), see.clone());
    let threads = TestServiceServer::blocking_with_interceptor(service(), see);
    for server in [Server::builder().service(tasks), Server::builder().service(threads)] {
        let pair = testing::pair(server).unwrap();
        let outcomes = every_call(&pair.channel(), false);
        assert!(outcomes[..4].iter().all(|(_, outcome)| outcome.is_ok()), "{outcomes:?}");
        assert_eq!(taken(&came), KINDS[..4]);
    }
}

fn a_deadline_can_be_changed() {
    let hour = Duration::from_secs(3600);
    let came = Arc::new(Mutex::new(Vec::new()));
    let log = came.clone();
    let site = Site::new(|server| {
        server.interceptor(move |call: &mut IncomingCall| {
            assert_eq!(call.deadline().is_some(), call.remaining().is_some());
            log.lock().unwrap().push(call.remaining());
            Ok(())
        })
    });
    let channel = site.channel();
    let client = TestServiceClient::new(channel.clone());
    client.unary_call(SimpleRequest::default()).wait().unwrap();
    let set = channel.intercepted(move |call: &mut OutgoingCall| {
        assert!(call.deadline().is_none() && call.remaining().is_none());
        call.set_deadline(Instant::now() + hour);
        Ok(())
    });
    TestServiceClient::new(set).unary_call(SimpleRequest::default()).wait().unwrap();
    let lift = channel.intercepted(|call: &mut OutgoingCall| {
        assert!(call.remaining().unwrap() <= Duration::from_secs(1800));
        call.set_deadline(None);
        Ok(())
    });
    let lifted = TestServiceClient::new(lift);
    lifted.unary_call(SimpleRequest::default()).timeout(hour / 2).wait().unwrap();
    let came = came.lock().unwrap();
    assert_eq!((came[0], came[2]), (None, None));
    assert!(came[1].unwrap() > hour / 2 && came[1].unwrap() <= hour, "{came:?}");
}

fn a_panic_on_the_server_fails_the_call() {
    let site = Site::new(|server| {
        server.interceptor(|call: &mut IncomingCall| match call.metadata().get("x-panic") {
            Some(text) => panic!("{text}"),
            None => Ok(()),
        })
    });
    let panicking = site.channel().intercepted(|call: &mut OutgoingCall| {
        call.metadata_mut().insert("x-panic", "at once").unwrap();
        Ok(())
    });
    for (kind, outcome) in every_call(&panicking, false) {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{kind}");
        assert!(status.message().contains("at once"), "{kind}: {status}");
    }
    unary(&site.channel()).unwrap();
}

fn a_channel_without_interceptors_is_left_alone() {
    let site = Site::new(|server| server);
    let channel = site.channel();
    let refusing = channel.intercepted(|_: &mut OutgoingCall| Err(Status::aborted("no")));
    assert_eq!(unary(&refusing).unwrap_err().code(), Code::Aborted);
    unary(&channel).unwrap();
    assert_eq!((refusing.is_closed(), refusing.peer()), (false, channel.peer()));
    assert_eq!(refusing.method(KINDS[0]), channel.method(KINDS[0]));
}

/// A pair's channel is as others are.
#[test]
fn a_pair_has_interceptors() {
    let server = Server::builder().raw("/a.B/C", |request, _| {
        let said = request.metadata().get("x-said").unwrap_or_default().to_owned();
        Ok(mmap_rpc::RawBody::from(said.into_bytes()))
    });
    let pair = testing::pair(server).unwrap();
    let say = |call: &mut OutgoingCall| {
        let service = call.service();
        call.metadata_mut().insert("x-said", service).unwrap();
        Ok(())
    };
    for channel in
        [pair.channel().intercepted(say), pair.connect(Channel::builder().interceptor(say)).unwrap()]
    {
        let reply = channel.raw(&channel.method("/a.B/C"), b"x").wait().unwrap();
        assert_eq!(reply.to_vec(), b"a.B");
    }
}

/// The classic protocol has no metadata to be changed, and everything else.
#[test]
fn classic_calls_are_looked_at_too() {
    let came = Log::default();
    let log = came.clone();
    let site = Site::new(|server| {
        server.interceptor(move |call: &mut IncomingCall| {
            log.lock().unwrap().push(call.method().to_owned());
            if call.method() == KINDS[4] { Err(Status::aborted("no bytes")) } else { Ok(()) }
        })
    });
    let channel = Channel::connect_classic(site.path()).wait().unwrap();
    let refuse = channel.intercepted(|_: &mut OutgoingCall| Err(Status::unauthenticated("who?")));
    assert_eq!(unary(&refuse).unwrap_err().code(), Code::Unauthenticated);
    let annotate = channel.intercepted(|call: &mut OutgoingCall| {
        call.metadata_mut().insert("x-said", "yes").unwrap();
        Ok(())
    });
    assert_eq!(unary(&annotate).unwrap_err().code(), Code::Unimplemented);
    let agree = channel.intercepted(|_: &mut OutgoingCall| Ok(()));
    unary(&agree).unwrap();
    let status = agree.raw(&agree.method(KINDS[4]), b"x").wait().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "no bytes"));
    let outcomes = every_call(&agree, true);
    assert!(outcomes[0].1.is_ok());
    assert_eq!(outcomes[1].1.as_ref().unwrap_err().code(), Code::Unimplemented, "no streams");
    assert_eq!(taken(&came), [KINDS[0], KINDS[4], KINDS[0], KINDS[4], KINDS[5]]);
}

/// The map that a request has is the one that is looked at.
#[test]
fn metadata_of_the_caller_are_there() {
    let site = Site::new(|server| server);
    let channel = site.channel().intercepted(|call: &mut OutgoingCall| {
        let said = call.metadata().get("x-said").map(str::to_owned);
        call.metadata_mut().clear();
        call.metadata_mut().insert(ECHO_INITIAL, said.unwrap()).unwrap();
        Ok(())
    });
    let client = TestServiceClient::new(channel);
    let mut metadata = MetadataMap::new();
    metadata.insert("x-said", "before").unwrap();
    let mut request = mmap_rpc::Request::new(SimpleRequest::default());
    *request.metadata_mut() = metadata;
    let response = client.unary_call(request).wait().unwrap();
    assert_eq!(response.metadata().get(ECHO_INITIAL), Some("before"));
}
