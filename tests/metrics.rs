//! Promise: with the feature `metrics` the recorder is told of each call once, on each side, by service,
//! method and outcome; and how many are under way.
#![cfg(all(feature = "metrics", feature = "tokio"))]

#[path = "interceptors/site.rs"]
#[expect(dead_code, reason = "others use more of it")]
mod site;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use mmap_rpc::{IncomingCall, OutgoingCall, Status};
use testkit::eventually;

use site::{KINDS, every_call, sites};

/// Each name with its labels, and the sum of what was said of it.
static TOLD: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());

struct Sum(String);

impl Sum {
    fn of(key: &Key) -> Arc<Self> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Self(format!("{} {}", key.name(), labels.join(" "))))
    }

    fn add(&self, value: f64) {
        *TOLD.lock().unwrap().entry(self.0.clone()).or_default() += value;
    }
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("calls are counted one by one")
    }
}

impl GaugeFn for Sum {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("calls come and go one by one")
    }
}

impl HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{}: {seconds}", self.0);
        // How often, not how long.
        self.add(1.0);
    }
}

struct Tell;

impl Recorder for Tell {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Sum::of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Sum::of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Sum::of(key))
    }
}

/// One test, because there is one recorder.
#[test]
fn each_call_is_counted_on_each_side() {
    metrics::set_global_recorder(Tell).unwrap_or_else(|_| panic!("another recorder"));
    for site in sites(|server| {
        server.interceptor(|call: &mut IncomingCall| match call.metadata().get("x-fail") {
            Some(_) => Err(Status::not_found("no such thing")),
            None => Ok(()),
        })
    }) {
        let failing = site.channel().intercepted(|call: &mut OutgoingCall| {
            call.metadata_mut().insert("x-fail", "yes").unwrap();
            Ok(())
        });
        for awaited in [false, true] {
            every_call(&site.channel(), awaited);
            every_call(&site.channel(), awaited);
            every_call(&failing, awaited);
            let mut expected = BTreeMap::new();
            for kind in KINDS {
                let (service, method) = kind[1..].split_once('/').unwrap();
                let labels = format!("rpc.system=mmap_rpc rpc.service={service} rpc.method={method}");
                for side in ["client", "server"] {
                    expected.insert(format!("rpc.{side}.active_calls {labels}"), 0.0);
                    for (code, calls) in [("0", 2.0), ("5", 1.0)] {
                        for name in ["calls", "call.duration"] {
                            let labels = format!("{labels} rpc.grpc.status_code={code}");
                            expected.insert(format!("rpc.{side}.{name} {labels}"), calls);
                        }
                    }
                }
            }
            eventually("calls are counted", || *TOLD.lock().unwrap() == expected);
            TOLD.lock().unwrap().clear();
        }
    }
}
