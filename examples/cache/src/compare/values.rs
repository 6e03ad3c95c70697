//! What is stored and asked for: two random values of a size, so that an old reply cannot pass for a new one.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde::Serialize;

use crate::cache::{GetRequest, SetRequest};
use crate::compare::Transport;
use crate::store::checksum;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Op {
    #[serde(rename = "set")]
    Set,
    #[serde(rename = "get")]
    Get,
    /// One Set, then one Get, timed as a pair.
    #[serde(rename = "set+get")]
    SetGet,
    /// A cache line to another process and back.
    #[serde(rename = "ping-pong")]
    PingPong,
}

impl Op {
    /// The operations of the cache.
    pub(super) const CALLS: [Self; 3] = [Self::Set, Self::Get, Self::SetGet];

    /// As the rows spell it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
            Self::SetGet => "set+get",
            Self::PingPong => "ping-pong",
        }
    }
}

/// Two keys of one transport, and two values that differ in almost every byte.
#[derive(Debug)]
pub(super) struct Values {
    keys: [String; 2],
    values: [Bytes; 2],
}

impl Values {
    /// Random values of `size` bytes, under keys that no other transport uses.
    pub(super) fn random(transport: &str, size: usize) -> Self {
        let random = |_| {
            let mut bytes = vec![0; size];
            fastrand::fill(&mut bytes);
            bytes.into()
        };
        Self { keys: [0, 1].map(|number| format!("{transport}/{number}")), values: [0, 1].map(random) }
    }

    /// Stores each value under its own key, and asks for both.
    pub(super) fn store_both(&self, transport: &mut dyn Transport) -> anyhow::Result<()> {
        for which in 0..2 {
            self.set(transport, which, which)?;
            self.get(transport, which, which)?;
        }
        Ok(())
    }

    /// Makes the call number `number`, compares the reply, and returns how long the call took: from the
    /// request as a message to the reply as a message.
    pub(super) fn call(
        &self,
        transport: &mut dyn Transport,
        op: Op,
        number: usize,
    ) -> anyhow::Result<Duration> {
        let which = number % 2;
        match op {
            Op::Set => self.set(transport, 0, which),
            Op::Get => self.get(transport, which, which),
            Op::SetGet => Ok(self.set(transport, 0, which)? + self.get(transport, 0, which)?),
            Op::PingPong => unreachable!("the floor is no call of the cache"),
        }
    }

    /// After `calls` of [`call`](Self::call): whether the last value that was set is the one that is there.
    pub(super) fn check_last_set(&self, transport: &mut dyn Transport, calls: usize) -> anyhow::Result<()> {
        self.get(transport, 0, (calls - 1) % 2).map(drop)
    }

    /// Compares a checksum that the server computed after [`store_both`](Self::store_both) with our own.
    pub(super) fn check_sum(&self, of: impl Fn(&str) -> anyhow::Result<u64>) -> anyhow::Result<()> {
        for (key, value) in self.keys.iter().zip(&self.values) {
            let theirs =
                of(key).with_context(|| format!("checksum of {} bytes over mmap-rpc", value.len()))?;
            ensure!(
                theirs == checksum(value),
                "the server's checksum of {key:?} is {theirs:#x}, ours {:#x}: please report this",
                checksum(value)
            );
        }
        Ok(())
    }

    fn set(&self, transport: &mut dyn Transport, key: usize, value: usize) -> anyhow::Result<Duration> {
        let request =
            SetRequest { key: self.keys[key].clone(), value: self.values[value].clone(), ttl_seconds: 0 };
        let start = Instant::now();
        let reply = transport.set(request);
        let took = start.elapsed();
        let reply = reply.with_context(|| self.step(transport, "set"))?;
        ensure!(reply.success, "{}: the server did not store the value", self.step(transport, "set"));
        Ok(took)
    }

    fn get(&self, transport: &mut dyn Transport, key: usize, value: usize) -> anyhow::Result<Duration> {
        let request = GetRequest { key: self.keys[key].clone() };
        let start = Instant::now();
        let reply = transport.get(request);
        let took = start.elapsed();
        let reply = reply.with_context(|| self.step(transport, "get"))?;
        ensure!(
            reply.found && reply.value == self.values[value],
            "{}: the reply differs from what was stored ({} bytes, found: {}); please report this",
            self.step(transport, "get"),
            reply.value.len(),
            reply.found,
        );
        Ok(took)
    }

    fn step(&self, transport: &dyn Transport, op: &str) -> String {
        format!("{op} of {} bytes over {}", self.values[0].len(), transport.name())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cache::{GetResponse, SetResponse};

    /// A transport that goes nowhere, and after so many Sets goes wrong if it is told to.
    #[derive(Default)]
    pub(in crate::compare) struct Fake {
        entries: HashMap<String, Bytes>,
        /// From here on a key keeps the value that it has.
        lose_sets_after: Option<usize>,
        /// From here on a key gets an empty value.
        empty_sets_after: Option<usize>,
        sets: usize,
    }

    impl Fake {
        pub(in crate::compare) fn with_empty_sets_after(sets: usize) -> Self {
            Self { empty_sets_after: Some(sets), ..Self::default() }
        }
    }

    impl Transport for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn set(&mut self, request: SetRequest) -> anyhow::Result<SetResponse> {
            let is_due = |after: Option<usize>| after.is_some_and(|sets| self.sets >= sets);
            if is_due(self.empty_sets_after) {
                self.entries.insert(request.key, Bytes::new());
            } else if !is_due(self.lose_sets_after) {
                self.entries.insert(request.key, request.value);
            }
            self.sets += 1;
            Ok(SetResponse { success: true })
        }

        fn get(&mut self, request: GetRequest) -> anyhow::Result<GetResponse> {
            let value = self.entries.get(&request.key).cloned();
            Ok(GetResponse { found: value.is_some(), value: value.unwrap_or_default() })
        }
    }

    #[test]
    fn replies_that_are_right_pass() {
        let (values, mut fake) = (Values::random("fake", 64), Fake::default());
        values.store_both(&mut fake).unwrap();
        for op in Op::CALLS {
            values.store_both(&mut fake).unwrap();
            for number in 0..5 {
                values.call(&mut fake, op, number).unwrap();
            }
        }
        values.check_last_set(&mut fake, 5).unwrap();
        values.store_both(&mut fake).unwrap();
        let sum = |key: &str| Ok(checksum(&fake.entries[key]));
        values.check_sum(sum).unwrap();
        let wrong = values.check_sum(|key| Ok(sum(key)? + 1)).unwrap_err();
        assert!(wrong.to_string().contains("checksum of \"fake/0\""), "{wrong}");
    }

    #[test]
    fn an_old_value_is_noticed() {
        let (values, mut fake) = (Values::random("fake", 64), Fake::default());
        values.store_both(&mut fake).unwrap();
        fake.lose_sets_after = Some(0);
        // Key 0 still has value 0: right for an even number, wrong for an odd one.
        values.call(&mut fake, Op::SetGet, 0).unwrap();
        let error = values.call(&mut fake, Op::SetGet, 1).unwrap_err().to_string();
        assert!(error.contains("get of 64 bytes over fake: the reply differs"), "{error}");
        values.call(&mut fake, Op::Set, 1).unwrap();
        assert!(values.check_last_set(&mut fake, 2).is_err());
    }

    #[test]
    fn a_value_that_is_not_there_is_noticed() {
        let (values, mut fake) = (Values::random("fake", 64), Fake::default());
        assert!(values.call(&mut fake, Op::Get, 0).unwrap_err().to_string().contains("found: false"));
    }
}
