//! The server's half: a trait to implement, and a type that routes calls to the implementation.

use super::{Method, Service, Shape, line, write_docs};

/// Writes the traits and the server of a service.
pub(super) fn write(service: &Service, buf: &mut String) {
    write_trait(service, Kind::Async, buf);
    write_trait(service, Kind::Blocking, buf);
    write_struct(service, buf);
    write_routing(service, Kind::Async, buf);
    write_routing(service, Kind::Blocking, buf);
}

/// How an implementation waits.
#[derive(Clone, Copy)]
enum Kind {
    Async,
    Blocking,
}

/// The traits carry no `#[deprecated]`: a server goes on answering what clients should no longer call.
fn write_trait(service: &Service, kind: Kind, buf: &mut String) {
    let full_name = &service.full_name;
    let (name, own) = match kind {
        Kind::Async => (
            &service.types.asynchronous,
            format!("Server side of `{full_name}`: each method is a future, for `async fn`s to implement."),
        ),
        Kind::Blocking => (
            &service.types.blocking,
            format!(
                "Server side of `{full_name}`, blocking: each method runs on a thread of the server until it \
                 returns."
            ),
        ),
    };
    write_docs(buf, 0, &service.comments, &own);
    line(buf, 0, &format!("pub trait {name}: ::std::marker::Send + ::std::marker::Sync + 'static {{"));
    for method in &service.methods {
        write_stream_type(method, kind, buf);
        write_trait_method(method, kind, buf);
    }
    line(buf, 0, "}");
}

/// What a method answers with, if that is more than one response.
fn write_stream_type(method: &Method, kind: Kind, buf: &mut String) {
    let Some(stream) = &method.stream else { return };
    let item = format!("::std::result::Result<{}, ::mmap_rpc::Status>", method.response);
    let (what, bounds) = match kind {
        Kind::Async => (
            "a stream that goes on after its method has returned",
            format!("::mmap_rpc::Stream<Item = {item}> + ::std::marker::Send + 'static"),
        ),
        Kind::Blocking => (
            "an iterator that is run on the thread that its method ran on",
            format!("::std::iter::IntoIterator<Item = {item}>"),
        ),
    };
    line(buf, 1, &format!("/// Responses of `{}`: {what}.", method.full_name));
    line(buf, 1, &format!("type {stream}: {bounds};"));
}

fn write_trait_method(method: &Method, kind: Kind, buf: &mut String) {
    let Method { full_name, ident, shape, request, response, .. } = method;
    write_docs(buf, 1, &method.comments, &format!("Answers `{full_name}`{}.", shape.described()));
    let request =
        if shape.requests_stream() { format!("::mmap_rpc::Streaming<{request}>") } else { request.clone() };
    // Of `Self`: a message may bear the same name.
    let response =
        method.stream.as_ref().map_or_else(|| response.clone(), |stream| format!("Self::{stream}"));
    let result = format!("::std::result::Result<::mmap_rpc::Response<{response}>, ::mmap_rpc::Status>");
    let returns = match kind {
        Kind::Async => format!("impl ::std::future::Future<Output = {result}> + ::std::marker::Send"),
        Kind::Blocking => result,
    };
    line(buf, 1, &format!("fn {ident}("));
    line(buf, 2, "&self,");
    line(buf, 2, &format!("request: ::mmap_rpc::Request<{request}>,"));
    line(buf, 1, &format!(") -> {returns};"));
}

fn write_struct(service: &Service, buf: &mut String) {
    let name = &service.types.server;
    let (blocking, asynchronous) = (&service.types.blocking, &service.types.asynchronous);
    let full_name = &service.full_name;
    line(buf, 0, &format!("/// Routes calls of `{full_name}` to [`{asynchronous}`] or [`{blocking}`]."));
    line(buf, 0, "#[derive(Debug)]");
    line(buf, 0, &format!("pub struct {name}<T, K = ::mmap_rpc::server::Async> {{"));
    line(buf, 1, "service: ::std::sync::Arc<T>,");
    line(buf, 1, "kind: ::std::marker::PhantomData<fn() -> K>,");
    line(buf, 0, "}");

    line(buf, 0, &format!("impl<T, K> {name}<T, K> {{"));
    line(buf, 1, "/// Full name of the service.");
    line(buf, 1, &format!("pub const NAME: &'static str = {full_name:?};"));
    service.write_methods(buf);
    write_descriptors(service, buf);
    line(buf, 0, "}");

    for (kind, bound, new, prefix, what) in [
        ("Async", asynchronous, "new", "", "an implementation"),
        ("Blocking", blocking, "blocking", "blocking_", "a blocking implementation"),
    ] {
        line(buf, 0, &format!("impl<T: {bound}> {name}<T, ::mmap_rpc::server::{kind}> {{"));
        line(buf, 1, &format!("/// Serves {what}."));
        line(buf, 1, &format!("pub fn {new}(service: T) -> Self {{"));
        line(buf, 2, &format!("Self::{prefix}from_arc(::std::sync::Arc::new(service))"));
        line(buf, 1, "}");
        line(buf, 1, &format!("/// Serves {what} that others hold as well."));
        line(buf, 1, &format!("pub fn {prefix}from_arc(service: ::std::sync::Arc<T>) -> Self {{"));
        line(buf, 2, "Self { service, kind: ::std::marker::PhantomData }");
        line(buf, 1, "}");
        line(
            buf,
            1,
            &format!("/// Serves {what}, with an interceptor that looks at each call of the service."),
        );
        line(buf, 1, &format!("pub fn {prefix}with_interceptor("));
        line(buf, 2, "service: T,");
        line(buf, 2, "interceptor: impl ::mmap_rpc::Interceptor<::mmap_rpc::IncomingCall>,");
        line(buf, 1, ") -> ::mmap_rpc::server::Intercepted<Self> {");
        line(buf, 2, &format!("::mmap_rpc::server::Intercepted::new(Self::{new}(service), interceptor)"));
        line(buf, 1, "}");
        line(buf, 0, "}");
    }

    // Not derived: that would ask `Clone` of the implementation, which is shared and not cloned.
    line(buf, 0, &format!("impl<T, K> ::std::clone::Clone for {name}<T, K> {{"));
    line(buf, 1, "fn clone(&self) -> Self {");
    line(
        buf,
        2,
        "Self { service: ::std::sync::Arc::clone(&self.service), kind: ::std::marker::PhantomData }",
    );
    line(buf, 1, "}");
    line(buf, 0, "}");
}

/// The descriptors lie in a file beside the code, which finds them wherever both are.
fn write_descriptors(service: &Service, buf: &mut String) {
    let Some(file) = &service.descriptors else { return };
    line(
        buf,
        1,
        "/// The package's files and what they import, as an encoded `google.protobuf.FileDescriptorSet`.",
    );
    line(buf, 1, "pub const FILE_DESCRIPTOR_SET: &'static [u8] =");
    line(buf, 2, &format!("::std::include_bytes!({file:?});"));
}

fn write_routing(service: &Service, kind: Kind, buf: &mut String) {
    let name = &service.types.server;
    let (kind_name, bound) = match kind {
        Kind::Async => ("Async", &service.types.asynchronous),
        Kind::Blocking => ("Blocking", &service.types.blocking),
    };
    let server = format!("{name}<T, ::mmap_rpc::server::{kind_name}>");
    line(buf, 0, &format!("impl<T: {bound}> ::mmap_rpc::server::Service for {server} {{"));
    line(buf, 1, "fn name(&self) -> &'static str {");
    line(buf, 2, "Self::NAME");
    line(buf, 1, "}");
    line(buf, 1, "fn methods(&self) -> &'static [&'static str] {");
    line(buf, 2, "&Self::METHODS");
    line(buf, 1, "}");
    if service.descriptors.is_some() {
        line(buf, 1, "fn descriptors(&self) -> &'static [u8] {");
        line(buf, 2, "Self::FILE_DESCRIPTOR_SET");
        line(buf, 1, "}");
    }
    line(buf, 1, "fn may_begin_anew(&self) -> bool {");
    line(buf, 2, "true");
    line(buf, 1, "}");
    line(buf, 1, "fn call(");
    line(buf, 2, "&self,");
    // A service without methods looks at no number.
    let method = if service.methods.is_empty() { "_method" } else { "method" };
    line(buf, 2, &format!("{method}: usize,"));
    line(buf, 2, "exchange: ::mmap_rpc::server::Exchange<'_>,");
    line(buf, 1, ") -> ::mmap_rpc::server::Handled {");
    if service.methods.is_empty() {
        line(buf, 2, "exchange.unimplemented()");
    } else {
        line(buf, 2, "match method {");
        for (index, method) in service.methods.iter().enumerate() {
            write_route(index, method, kind, buf);
        }
        line(buf, 3, "_ => exchange.unimplemented(),");
        line(buf, 2, "}");
    }
    line(buf, 1, "}");
    line(buf, 0, "}");
}

/// Handlers are named through `T`, because a method on the `Arc` itself (`as_ref`, `borrow`) would be found
/// first. All but one kind may leave the thread that received the call, and hold the service themselves.
fn write_route(index: usize, method: &Method, kind: Kind, buf: &mut String) {
    let (ident, shape) = (&method.ident, method.shape);
    let route = shape.ident();
    let handler = match (kind, shape) {
        (Kind::Blocking, Shape::Unary) => {
            let handler = format!("|request| T::{ident}(&self.service, request)");
            return line(buf, 3, &format!("{index} => exchange.{route}({handler}),"));
        }
        (Kind::Blocking, _) => format!("{route}(move |request| T::{ident}(&service, request))"),
        (Kind::Async, _) => {
            format!("{route}_async(move |request| async move {{ T::{ident}(&service, request).await }})")
        }
    };
    line(buf, 3, &format!("{index} => {{"));
    line(buf, 4, "let service = ::std::sync::Arc::clone(&self.service);");
    line(buf, 4, &format!("exchange.{handler}"));
    line(buf, 3, "}");
}
