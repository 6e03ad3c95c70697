//! The server process: the cache over mmap-rpc, and beside it over the plain socket that it is compared with.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use mmap_rpc::{Payload, Request, Server, Status};

use crate::cache::CacheServer;
use crate::compare::rival;
use crate::process;
use crate::store::{Store, checksum};

/// A method of plain bytes: takes a key, answers with the [`checksum`] of its value in 8 bytes,
/// little-endian.
pub(crate) const CHECKSUM: &str = "/cache.Cache/Checksum";

/// Serves on the sockets in `directory` until the process that started this one closes our standard input.
///
/// With `files`, clients that cannot receive descriptors have their memory there: those of the classic
/// protocol, and those of the socket lane that ask for a file.
pub(crate) fn serve(directory: &Path, files: Option<&Path>) -> anyhow::Result<()> {
    let store = Arc::new(Store::default());
    let mut builder = Server::builder();
    if let Some(files) = files {
        builder = builder.classic(files).file_backing(files);
    }
    let server = builder
        .service(CacheServer::blocking_from_arc(store.clone()))
        .raw(CHECKSUM, {
            let store = store.clone();
            move |request: Request<Payload>, _| {
                Ok(checksum_of(&store, request)?.to_le_bytes().to_vec().into())
            }
        })
        .bind(process::socket(directory))
        .context("the server cannot listen")?;
    let rival = process::rival_socket(directory);
    rival::listen(&rival, store)?;

    let handle = server.shutdown_handle();
    process::when_parent_leaves(move || handle.shutdown())?;
    println!("{}", process::READY);
    server.run().context("the server cannot go on serving")?;

    // The directory belongs to whoever started us, who may have been killed: then it would stay for ever.
    let _ = fs::remove_file(&rival).and_then(|()| fs::remove_dir(directory));
    Ok(())
}

fn checksum_of(store: &Store, request: Request<Payload>) -> Result<u64, Status> {
    let key = String::from_utf8(request.into_inner().to_vec())
        .map_err(|_| Status::invalid_argument("a key is UTF-8 text"))?;
    let value = store.find(&key).ok_or_else(|| Status::not_found(format!("no value under {key:?}")))?;
    Ok(checksum(&value))
}
