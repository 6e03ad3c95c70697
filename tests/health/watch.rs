//! Whoever watches a service is told how it is, now and whenever that changes.

use std::thread;
use std::time::Duration;

use mmap_rpc::health::{
    Health, HealthCheckRequest, HealthCheckResponse, HealthClient, HealthReporter, ServingStatus,
};
use mmap_rpc::testing::{self, Pair};
use mmap_rpc::{Code, Server, ServerBuilder, Status, Streaming};
use testkit::{PATIENCE, eventually};
use tokio::runtime::{Builder, Runtime};

use ServingStatus::{NotServing, ServiceUnknown, Serving};

/// A server, and what its watches run on if they are tasks; else each has a thread.
struct Site {
    pair: Pair,
    client: HealthClient,
    reporter: HealthReporter,
    _runtime: Option<Runtime>,
}

fn site(tasks: bool, settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Site {
    let (health, reporter) = Health::new();
    let runtime = tasks.then(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    let builder = settings(Server::builder().service(health));
    let builder = match &runtime {
        Some(runtime) => builder.runtime(runtime.handle().clone()),
        None => builder,
    };
    let pair = testing::pair(builder).unwrap();
    let client = HealthClient::new(pair.channel());
    Site { pair, client, reporter, _runtime: runtime }
}

/// Runs a test on a server of tasks, and on one of threads.
fn on_both(settings: impl Fn(ServerBuilder) -> ServerBuilder, test: impl Fn(Site)) {
    for tasks in [true, false] {
        test(site(tasks, &settings));
    }
}

/// A stream of statuses. One that brings nothing fails in time.
struct Watched(Streaming<HealthCheckResponse>);

impl Watched {
    fn begin(client: &HealthClient, service: &str) -> Result<Self, Status> {
        let request = HealthCheckRequest { service: service.into() };
        Ok(Self(client.watch(request).timeout(PATIENCE).wait()?.into_inner()))
    }

    fn next(&mut self) -> Result<ServingStatus, Status> {
        Ok(self.0.message().wait()?.expect("a watch has no end but a failure").status())
    }
}

fn watch(client: &HealthClient, service: &str) -> Watched {
    Watched::begin(client, service).unwrap()
}

#[test]
fn every_change_is_told_in_its_order() {
    on_both(
        |builder| builder,
        |site| {
            let (mut whole, mut part) = (watch(&site.client, ""), watch(&site.client, "a.B"));
            assert_eq!(whole.next().unwrap(), Serving);
            assert_eq!(part.next().unwrap(), ServiceUnknown, "and it goes on");
            for _ in 0..3 {
                site.reporter.set_serving("a.B");
                assert_eq!(part.next().unwrap(), Serving);
                site.reporter.set_not_serving("a.B");
                assert_eq!(part.next().unwrap(), NotServing);
                site.reporter.clear("a.B");
                assert_eq!(part.next().unwrap(), ServiceUnknown);
            }
            site.reporter.set_not_serving("");
            assert_eq!(whole.next().unwrap(), NotServing, "nothing of the others");
        },
    );
}

#[test]
fn who_is_slow_is_told_the_latest() {
    // Each message counts 128 bytes beside its own, so few are on their way at a time.
    let window = 1024;
    on_both(
        |builder| builder.stream_window(window),
        |site| {
            site.reporter.set_serving("a.B");
            let mut slow = watch(&site.client, "a.B");
            for _ in 0..2_000 {
                site.reporter.set_not_serving("a.B");
                site.reporter.set_serving("a.B");
            }
            site.reporter.clear("a.B");
            let mut told = vec![slow.next().unwrap()];
            while told.last() != Some(&ServiceUnknown) {
                told.push(slow.next().unwrap());
            }
            assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
            // Those on their way, one that waited for room, and the latest.
            assert!(told.len() <= window as usize / 128 + 2, "{} of 4,002 statuses", told.len());
        },
    );
}

#[test]
fn many_watch_at_once() {
    on_both(
        |builder| builder,
        |site| {
            let mut watches: Vec<_> = (0..64).map(|_| watch(&site.client, "a.B")).collect();
            watches.iter_mut().for_each(|watch| assert_eq!(watch.next().unwrap(), ServiceUnknown));
            for status in [Serving, NotServing] {
                match status {
                    Serving => site.reporter.set_serving("a.B"),
                    _ => site.reporter.set_not_serving("a.B"),
                }
                watches.iter_mut().for_each(|watch| assert_eq!(watch.next().unwrap(), status));
            }
        },
    );
}

#[test]
fn a_task_watches() {
    let site = site(true, |builder| builder);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let call = site.client.watch(HealthCheckRequest::default()).timeout(PATIENCE);
        let mut statuses = call.await.unwrap().into_inner();
        assert_eq!(statuses.message().await.unwrap().unwrap().status(), Serving);
        site.reporter.drain();
        assert_eq!(statuses.message().await.unwrap().unwrap().status(), NotServing);
    });
}

#[test]
fn a_watch_that_is_dropped_ends() {
    on_both(
        |builder| builder.max_in_flight(2),
        |site| {
            // Each round needs both places, which those of the last one had.
            for _ in 0..100 {
                eventually("both places are free", || {
                    let both = [(); 2].map(|()| Watched::begin(&site.client, ""));
                    both.into_iter().all(|begun| begun.is_ok_and(|mut it| it.next().unwrap() == Serving))
                });
            }
        },
    );
}

#[test]
fn a_drain_is_told_and_the_end_waits_for_no_watch() {
    on_both(
        |builder| builder.grace(Duration::from_secs(3600)),
        |site| {
            site.reporter.set_serving("a.B");
            let mut watches = ["", "a.B"].map(|service| watch(&site.client, service));
            watches.iter_mut().for_each(|watch| assert_eq!(watch.next().unwrap(), Serving));
            site.reporter.drain();
            watches.iter_mut().for_each(|watch| assert_eq!(watch.next().unwrap(), NotServing));
            let mut late = watch(&site.client, "");
            assert_eq!(late.next().unwrap(), NotServing);

            let Site { pair, _runtime, .. } = site;
            let ending = thread::spawn(move || drop(pair));
            for watch in watches.iter_mut().chain([&mut late]) {
                let ended = watch.next().unwrap_err();
                assert_eq!(ended.code(), Code::Unavailable, "{ended}");
                assert!(ended.message().contains("shutting down"), "{ended}");
            }
            eventually("the server ends", || ending.is_finished());
        },
    );
}

#[test]
fn a_name_that_none_has_is_not_kept() {
    let site = site(true, |builder| builder);
    assert_eq!(watch(&site.client, &"n".repeat(1024)).next().unwrap(), ServiceUnknown);
    let refused = Watched::begin(&site.client, &"n".repeat(1025)).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("1025 bytes"), "{refused}");
}
