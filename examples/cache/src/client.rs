//! The client: calls of the generated stub, and one of plain bytes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use mmap_rpc::Method;

use crate::cache::{CacheClient, GetRequest, GetResponse, SetRequest, SetResponse};
use crate::compare::Transport;
use crate::server::CHECKSUM;

/// How long any call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the cache.
#[derive(Debug)]
pub(crate) struct Client {
    cache: CacheClient,
    checksum: Method,
}

impl Client {
    /// Connects to the server that listens at `path`.
    pub(crate) fn connect(path: &Path) -> anyhow::Result<Self> {
        let cache = CacheClient::connect(path).wait().context("the client cannot connect over mmap-rpc")?;
        let checksum = cache.channel().method(CHECKSUM);
        Ok(Self { cache, checksum })
    }

    /// The checksum of the value that the server has for `key`.
    pub(crate) fn checksum(&self, key: &str) -> anyhow::Result<u64> {
        let reply = self.cache.channel().raw(&self.checksum, key.as_bytes()).timeout(PATIENCE).wait()?;
        ensure!(reply.len() == 8, "a checksum has 8 bytes, this reply {}", reply.len());
        let mut sum = [0; 8];
        reply.copy_to_slice(0, &mut sum);
        Ok(u64::from_le_bytes(sum))
    }
}

impl Transport for Client {
    fn name(&self) -> &'static str {
        "mmap-rpc"
    }

    fn set(&mut self, request: SetRequest) -> anyhow::Result<SetResponse> {
        let reply = self.cache.set(request).timeout(PATIENCE).wait()?;
        Ok(reply.into_inner())
    }

    fn get(&mut self, request: GetRequest) -> anyhow::Result<GetResponse> {
        let reply = self.cache.get(request).timeout(PATIENCE).wait()?;
        Ok(reply.into_inner())
    }
}
