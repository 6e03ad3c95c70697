//! The golden files compile in a crate as strict as this one, whose warnings are errors, and warn whoever
//! uses what is deprecated.
//!
//! Most of it is shown by compiling; an `expect` that nothing fulfils would be a warning, hence an error.
//! What runs shows that messages of well-known types, methods of two files, and streams come through.

#![deny(warnings, missing_docs)]

#[path = "lints/shapes.rs"]
mod shapes;

/// Messages and stubs with comments and deprecations.
pub mod cache {
    include!("golden/cache/expected/mmap_rpc_includes.rs");
}

/// Messages and stubs without any comment.
pub mod bare {
    include!("golden/bare/expected/mmap_rpc_includes.rs");
}

/// A service without methods.
pub mod empty {
    include!("golden/empty/expected/mmap_rpc_includes.rs");
}

/// Names that are keywords.
pub mod keywords {
    include!("golden/keywords/expected/mmap_rpc_includes.rs");
}

/// Packages inside of packages.
pub mod nested {
    include!("golden/nested/expected/mmap_rpc_includes.rs");
}

/// What has no package.
pub mod no_package {
    include!("golden/no_package/expected/mmap_rpc_includes.rs");
}

/// Streams of every shape, among messages that bear the names of what the stubs are made of.
pub mod streams {
    include!("golden/streams/expected/mmap_rpc_includes.rs");
}

/// Well-known types, and a package whose services are in two files.
pub mod well_known {
    include!("golden/well_known/expected/mmap_rpc_includes.rs");
}

use cache::cache::{
    BlockingCache, CacheClient, CacheServer, GetRequest, GetResponse, SetRequest, SetResponse,
};
use mmap_rpc::prost_types::{Any, Duration, Timestamp};
use mmap_rpc::{Request, Response, Server, Status, testing};
use well_known::depot::{
    BlockingReader, BlockingWriter, Change, Item, ReaderClient, ReaderServer, WriterClient, WriterServer,
    item::Place,
};

/// Answers all methods, the deprecated one without a warning.
struct Answers;

impl BlockingCache for Answers {
    fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let key = request.into_inner().key;
        Ok(Response::new(GetResponse { found: !key.is_empty(), value: key.into() }))
    }

    fn set(&self, _: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        Ok(Response::new(SetResponse { success: true }))
    }

    fn put(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        self.set(request)
    }
}

impl BlockingReader for Answers {
    fn get(&self, request: Request<String>) -> Result<Response<Item>, Status> {
        let content = Any { type_url: request.into_inner(), value: vec![1, 2] };
        Ok(Response::new(Item {
            content: Some(content),
            stored: Some(Timestamp { seconds: 5, nanos: 6 }),
            labels: Some(Default::default()),
            digest: Some(b"digest".to_vec()),
            size: Some(7),
            leases: [("a".to_owned(), Duration { seconds: 8, nanos: 0 })].into(),
            place: Some(Place::Nowhere(())),
            ..Item::default()
        }))
    }

    fn age(&self, _: Request<()>) -> Result<Response<Duration>, Status> {
        Ok(Response::new(Duration { seconds: 9, nanos: 10 }))
    }
}

impl BlockingWriter for Answers {
    fn apply(&self, request: Request<Change>) -> Result<Response<()>, Status> {
        request.into_inner().value.map(|_| Response::new(())).ok_or(Status::invalid_argument("no value"))
    }
}

fn deprecations() -> Result<(), Box<dyn std::error::Error>> {
    let pair = testing::pair(Server::builder().service(CacheServer::blocking(Answers)))?;
    let client = CacheClient::new(pair.channel());
    assert!(client.get(GetRequest { key: "a".into() }).wait()?.get_ref().found);
    assert!(client.set(SetRequest::default()).wait()?.get_ref().success);
    #[expect(deprecated, reason = "the method is")]
    let put = client.put(SetRequest::default()).wait()?;
    assert!(put.get_ref().success);
    #[expect(deprecated, reason = "the field is")]
    let ttl = SetRequest::default().ttl;
    assert_eq!(ttl, 0);
    #[expect(deprecated, reason = "the value is")]
    let tape = cache::cache::Kind::Tape;
    assert_eq!(tape as i32, 2);
    #[expect(deprecated, reason = "the service is")]
    let old = cache::cache::OldCacheClient::new(pair.channel());
    let unknown = old.get(GetRequest::default()).wait().unwrap_err();
    assert_eq!(unknown.code(), mmap_rpc::Code::Unimplemented);
    Ok(())
}

fn well_known_types_travel() -> Result<(), Box<dyn std::error::Error>> {
    let builder =
        Server::builder().service(ReaderServer::blocking(Answers)).service(WriterServer::blocking(Answers));
    let pair = testing::pair(builder)?;
    let (reader, writer) = (ReaderClient::new(pair.channel()), WriterClient::new(pair.channel()));
    let item = reader.get("type".to_owned()).wait()?.into_inner();
    let expected = BlockingReader::get(&Answers, Request::new("type".to_owned()))?.into_inner();
    assert_eq!(item, expected);
    assert_eq!(reader.age(()).wait()?.into_inner(), Duration { seconds: 9, nanos: 10 });
    writer.apply(Change { fields: None, value: Some(Default::default()) }).wait()?;
    assert_eq!(writer.apply(Change::default()).wait().unwrap_err().message(), "no value");
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    deprecations()?;
    well_known_types_travel()?;
    shapes::streams_of_every_shape_travel()
}
