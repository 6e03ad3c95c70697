//! The server's half: a trait to implement, and a type that routes calls to the implementation.

use super::{Service, line, write_docs};

/// Writes the traits and the server of a service.
pub(super) fn write(service: &Service, buf: &mut String) {
    write_async_trait(service, buf);
    write_blocking_trait(service, buf);
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

fn write_async_trait(service: &Service, buf: &mut String) {
    let own = format!(
        "Server side of `{}`: each method is a future, for `async fn`s to implement.",
        service.full_name
    );
    write_trait(service, &service.types.asynchronous, &own, buf, |response| {
        format!("impl ::std::future::Future<Output = {response}> + ::std::marker::Send")
    });
}

fn write_blocking_trait(service: &Service, buf: &mut String) {
    let own = format!(
        "Server side of `{}`, blocking: each method runs on a thread of the server until it returns.",
        service.full_name
    );
    write_trait(service, &service.types.blocking, &own, buf, |response| response);
}

/// The traits carry no `#[deprecated]`: a server goes on answering what clients should no longer call.
fn write_trait(
    service: &Service,
    name: &str,
    own: &str,
    buf: &mut String,
    returns: impl Fn(String) -> String,
) {
    write_docs(buf, 0, &service.comments, own);
    line(buf, 0, &format!("pub trait {name}: ::std::marker::Send + ::std::marker::Sync + 'static {{"));
    for method in &service.methods {
        write_docs(buf, 1, &method.comments, &format!("Answers `{}`.", method.full_name));
        line(buf, 1, &format!("fn {}(", method.ident));
        line(buf, 2, "&self,");
        line(buf, 2, &format!("request: ::mmap_rpc::Request<{}>,", method.request));
        let response = &method.response;
        let response = format!("::std::result::Result<::mmap_rpc::Response<{response}>, ::mmap_rpc::Status>");
        line(buf, 1, &format!(") -> {};", returns(response)));
    }
    line(buf, 0, "}");
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

    for (kind, bound, new, from_arc, what) in [
        ("Async", asynchronous, "new", "from_arc", "an implementation"),
        ("Blocking", blocking, "blocking", "blocking_from_arc", "a blocking implementation"),
    ] {
        line(buf, 0, &format!("impl<T: {bound}> {name}<T, ::mmap_rpc::server::{kind}> {{"));
        line(buf, 1, &format!("/// Serves {what}."));
        line(buf, 1, &format!("pub fn {new}(service: T) -> Self {{"));
        line(buf, 2, &format!("Self::{from_arc}(::std::sync::Arc::new(service))"));
        line(buf, 1, "}");
        line(buf, 1, &format!("/// Serves {what} that others hold as well."));
        line(buf, 1, &format!("pub fn {from_arc}(service: ::std::sync::Arc<T>) -> Self {{"));
        line(buf, 2, "Self { service, kind: ::std::marker::PhantomData }");
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
            // Named through `T`, because a method on the `Arc` itself (`as_ref`, `borrow`) would be found
            // first.
            let ident = &method.ident;
            match kind {
                Kind::Blocking => {
                    let handler = format!("|request| T::{ident}(&self.service, request)");
                    line(buf, 3, &format!("{index} => exchange.unary({handler}),"));
                }
                Kind::Async => {
                    line(buf, 3, &format!("{index} => {{"));
                    line(buf, 4, "let service = ::std::sync::Arc::clone(&self.service);");
                    let handler =
                        format!("move |request| async move {{ T::{ident}(&service, request).await }}");
                    line(buf, 4, &format!("exchange.unary_async({handler})"));
                    line(buf, 3, "}");
                }
            }
        }
        line(buf, 3, "_ => exchange.unimplemented(),");
        line(buf, 2, "}");
    }
    line(buf, 1, "}");
    line(buf, 0, "}");
}
