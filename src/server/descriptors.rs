//! The service that tells what the other services of a server are.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;

use crate::rpc::descriptors::{FILE_DESCRIPTOR_SET, GET, GetRequest, GetResponse, NAME};
use crate::rpc::{Request, Response};
use crate::server::exchange::{Exchange, Handled};
use crate::server::router::Service;

/// Put together when the server is bound; a call copies it out.
pub(super) struct Descriptors(GetResponse);

/// A `google.protobuf.FileDescriptorSet` whose files stay encoded, with all that they say.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

impl Descriptors {
    /// Tells of methods, and of services by name and descriptors. `None` if no service has any.
    pub(super) fn of(
        methods: &[String],
        services: impl Iterator<Item = (&'static str, &'static [u8])>,
    ) -> Result<Option<Self>, String> {
        let services: Vec<_> = services.filter(|(_, set)| !set.is_empty()).collect();
        if services.is_empty() {
            return Ok(None);
        }
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        for (name, set) in services.into_iter().chain([(NAME, FILE_DESCRIPTOR_SET)]) {
            let set = Set::decode(Bytes::from_static(set))
                .map_err(|error| format!("the descriptors of {name} do not decode: {error}"))?;
            files.extend(set.files.into_iter().filter(|file| seen.insert(file.clone())));
        }
        let methods = methods.iter().cloned().chain([GET.to_owned()]).collect();
        Ok(Some(Self(GetResponse { methods, files })))
    }
}

impl Service for Descriptors {
    fn name(&self) -> &'static str {
        NAME
    }

    fn methods(&self) -> &'static [&'static str] {
        &[GET]
    }

    fn descriptors(&self) -> &'static [u8] {
        FILE_DESCRIPTOR_SET
    }

    fn call(&self, _: usize, exchange: Exchange<'_>) -> Handled {
        exchange.unary(|_: Request<GetRequest>| Ok(Response::new(self.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file each, named `a` and `b`, and one file that comes after each of them.
    const A: &[u8] = &[0x0a, 3, 0x0a, 1, b'a', 0x0a, 3, 0x0a, 1, b'c'];
    const B: &[u8] = &[0x0a, 3, 0x0a, 1, b'b', 0x0a, 3, 0x0a, 1, b'c'];

    fn files(services: &[(&'static str, &'static [u8])]) -> Vec<Bytes> {
        let told = Descriptors::of(&["/a/b".to_owned()], services.iter().copied()).unwrap().unwrap().0;
        assert_eq!(told.methods, ["/a/b", GET]);
        told.files
    }

    #[test]
    fn each_file_is_told_once() {
        let told = files(&[("A", A), ("A again", A), ("none", &[]), ("B", B)]);
        assert_eq!(told[..3], [&A[2..5], &A[7..], &B[2..5]]);
        assert_eq!(told.len(), 4, "the service's own comes last");
    }

    #[test]
    fn what_no_service_describes_is_not_told() {
        assert!(Descriptors::of(&["/a/b".to_owned()], [("A", &[][..])].into_iter()).unwrap().is_none());
    }

    #[test]
    fn descriptors_that_are_none_are_refused_by_name() {
        let refused = Descriptors::of(&[], [("a.A", &A[..4])].into_iter()).err().unwrap();
        assert!(refused.contains("the descriptors of a.A do not decode"), "{refused}");
    }
}
