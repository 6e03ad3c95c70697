//! A running server, asked what it offers.
//!
//! Names and descriptors come from the server itself ([`descriptors`]), so no `.proto` file is needed here.
//! What it sends is another process's text: it is shown without the characters that terminals obey.

pub mod catalog;
pub mod health;
#[cfg(test)]
mod tests;
pub mod text;

use std::fmt::Write;

use anyhow::{Context, bail};
use mmap_rpc::descriptors::{self, GetRequest, GetResponse};
use mmap_rpc::{Channel, ChannelBuilder, Code, ConnectError, Request};
use serde::Serialize;

use crate::args::{Describe, List, Target};
use catalog::Catalog;

/// Connects to the server that a command is about.
///
/// # Errors
/// Those of [`mmap_rpc::Connect::wait`].
pub fn connect(target: &Target) -> Result<Channel, ConnectError> {
    let builder = Channel::builder().connect_timeout(target.timeout);
    target.allow_uid.into_iter().fold(builder, ChannelBuilder::allow_uid).connect(&target.socket).wait()
}

/// What the server offers.
fn ask(target: &Target) -> anyhow::Result<Catalog> {
    let channel = connect(target)?;
    let call = channel.unary(&channel.method(descriptors::GET), Request::new(GetRequest {}));
    let told: GetResponse = match call.timeout(target.timeout).wait() {
        Ok(told) => told.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => bail!(
            "{}: this server tells nothing about its services; they carry no descriptors, or it was built \
             with descriptors(false)",
            target.socket.display()
        ),
        Err(status) => {
            return Err(status)
                .with_context(|| format!("{}: cannot ask for descriptors", target.socket.display()));
        }
    };
    let catalog = Catalog::new(&told.methods, &told.files);
    catalog.with_context(|| format!("{}: this server's descriptors are none", target.socket.display()))
}

/// The services of a server with their methods, as text or as JSON lines.
///
/// # Errors
/// If the server cannot be reached, or has nothing to tell.
pub fn list(options: &List) -> anyhow::Result<String> {
    let services = ask(&options.target)?.served();
    if options.json { json_lines(&services) } else { Ok(text::list(&services)) }
}

/// All services of a server, or the one thing that was named, as text or as JSON lines.
///
/// # Errors
/// As [`list`], and if there is no such thing or several are called so.
pub fn describe(options: &Describe) -> anyhow::Result<String> {
    let catalog = ask(&options.target)?;
    let things = match &options.name {
        None => catalog.served().into_iter().map(catalog::Thing::Service).collect(),
        Some(name) => vec![catalog.find(name)?],
    };
    if options.json { json_lines(&things) } else { Ok(text::describe(&things)) }
}

fn json_lines(things: &[impl Serialize]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for thing in things {
        writeln!(lines, "{}", serde_json::to_string(thing).context("cannot write JSON")?)?;
    }
    Ok(lines)
}
