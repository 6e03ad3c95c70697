//! The values by key: an ordinary map behind an ordinary lock, and the generated trait over it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mmap_rpc::{Request, Response, Status};

use crate::cache::{BlockingCache, GetRequest, GetResponse, SetRequest, SetResponse};

/// All values. Those that came in a message share the memory that it was received in; nothing is copied here.
#[derive(Debug, Default)]
pub(crate) struct Store(RwLock<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

impl BlockingCache for Store {
    fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let value = self.find(&request.get_ref().key);
        Ok(Response::new(GetResponse { found: value.is_some(), value: value.unwrap_or_default() }))
    }

    fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        let SetRequest { key, value, ttl_seconds } = request.into_inner();
        let seconds = u64::try_from(ttl_seconds)
            .map_err(|_| Status::invalid_argument("ttl_seconds is negative; 0 keeps a value for ever"))?;
        self.put(key, value, (seconds > 0).then(|| Duration::from_secs(seconds)));
        Ok(Response::new(SetResponse { success: true }))
    }
}

impl Store {
    /// Keeps a value, for so long or for ever, in place of what the key had.
    pub(crate) fn put(&self, key: String, value: Bytes, ttl: Option<Duration>) {
        let entry = Entry { value, expires: ttl.map(|ttl| Instant::now() + ttl) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
    }

    /// The value of a key that has one, and whose time is not up.
    pub(crate) fn find(&self, key: &str) -> Option<Bytes> {
        self.find_at(key, Instant::now)
    }

    /// As [`find`](Self::find), with a clock that is read only for values that expire.
    fn find_at(&self, key: &str, now: impl Fn() -> Instant) -> Option<Bytes> {
        let expired = |entry: &Entry| entry.expires.is_some_and(|expires| expires <= now());
        {
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.get(key)?;
            if !expired(entry) {
                return Some(entry.value.clone());
            }
        }
        // Looked at again: somebody may have put a new value there between the two locks.
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match entries.get(key) {
            Some(entry) if expired(entry) => drop(entries.remove(key)),
            _ => {}
        }
        entries.get(key).map(|entry| entry.value.clone())
    }
}

/// FNV-1a: two lines are less than a dependency, and fast enough for a few looks at each size.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(store: &Store, key: &str, value: &'static str, ttl_seconds: i32) -> Result<(), Status> {
        let request = SetRequest { key: key.into(), value: value.into(), ttl_seconds };
        store.set(request.into()).map(|response| assert!(response.into_inner().success))
    }

    #[test]
    fn a_value_is_found_until_it_is_replaced() {
        let store = Store::default();
        assert_eq!(store.find("a"), None);
        set(&store, "a", "one", 0).unwrap();
        set(&store, "a", "two", 0).unwrap();
        let reply = store.get(GetRequest { key: "a".into() }.into()).unwrap().into_inner();
        assert_eq!((reply.found, &reply.value[..]), (true, &b"two"[..]));
        let reply = store.get(GetRequest { key: "b".into() }.into()).unwrap().into_inner();
        assert_eq!((reply.found, &reply.value[..]), (false, &b""[..]));
    }

    #[test]
    fn a_value_lives_as_long_as_it_was_told() {
        let store = Store::default();
        set(&store, "brief", "x", 10).unwrap();
        set(&store, "lasting", "y", 0).unwrap();
        let after = |seconds| move || Instant::now() + Duration::from_secs(seconds);
        assert!(store.find_at("brief", after(9)).is_some());
        assert!(store.find_at("brief", after(10)).is_none());
        assert!(store.find_at("lasting", after(1 << 30)).is_some());
        // It is gone, not merely hidden.
        assert!(store.find("brief").is_none());
        assert_eq!(store.0.read().unwrap().len(), 1);
    }

    #[test]
    fn a_negative_time_to_live_is_refused() {
        let store = Store::default();
        assert_eq!(set(&store, "a", "x", -1).unwrap_err().code(), mmap_rpc::Code::InvalidArgument);
        assert_eq!(store.find("a"), None);
    }

    #[test]
    fn a_found_value_is_the_stored_memory() {
        let store = Store::default();
        let value = Bytes::from(vec![1; 1000]);
        store.put("a".into(), value.clone(), None);
        assert_eq!(store.find("a").unwrap().as_ptr(), value.as_ptr());
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        // From the test vectors that its authors publish.
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
