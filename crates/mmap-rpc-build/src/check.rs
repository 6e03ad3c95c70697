//! Refuses what cannot be generated yet, before anything is generated.

use protox::Compiler;
use protox::prost_reflect::prost_types::{FileDescriptorProto, MethodDescriptorProto};

use crate::error::Error;
use crate::names;

/// Numbers of `FileDescriptorProto.service` and `ServiceDescriptorProto.method`: the steps that lead to a
/// method in a file's source info.
const SERVICE: i32 = 6;
const METHOD: i32 = 2;

/// Fails if a service has a streaming method; the error names all of them.
pub(crate) fn supported(compiler: &Compiler) -> Result<(), Error> {
    let set = compiler.file_descriptor_set();
    let mut refused = Vec::new();
    for (file, metadata) in set.file.iter().zip(compiler.files()) {
        let path =
            metadata.path().map_or_else(|| metadata.name().to_owned(), |path| path.display().to_string());
        for (s, service) in file.service.iter().enumerate() {
            let service_name = names::service(file.package(), service.name());
            for (m, method) in service.method.iter().enumerate() {
                if let Some(kind) = streaming(method) {
                    let place = match line(file, &[SERVICE, s as i32, METHOD, m as i32]) {
                        Some(line) => format!("{path}:{line}"),
                        None => path.clone(),
                    };
                    refused.push(format!(
                        "{place}: streaming methods are not supported yet: {} ({kind})",
                        names::method(&service_name, method.name())
                    ));
                }
            }
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        refused.join("\n"),
        "remove `stream`, and let one call carry a `repeated` field, or call once for each part",
    ))
}

/// Which way a method streams, if it does.
fn streaming(method: &MethodDescriptorProto) -> Option<&'static str> {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => None,
        (true, false) => Some("client streaming"),
        (false, true) => Some("server streaming"),
        (true, true) => Some("bidirectional streaming"),
    }
}

/// The line, from 1, on which the item at `path` begins.
fn line(file: &FileDescriptorProto, path: &[i32]) -> Option<i32> {
    let locations = &file.source_code_info.as_ref()?.location;
    let location = locations.iter().find(|location| location.path == path)?;
    location.span.first().map(|line| line + 1)
}
