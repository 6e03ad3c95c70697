//! The server's half: a trait to implement, and a type that routes calls to the implementation.

use super::{Service, line, write_docs};

/// Writes the trait and the server of a service.
pub(super) fn write(service: &Service, buf: &mut String) {
    write_trait(service, buf);
    write_struct(service, buf);
    write_routing(service, buf);
}

/// The trait carries no `#[deprecated]`: a server goes on answering what clients should no longer call.
fn write_trait(service: &Service, buf: &mut String) {
    let own = format!(
        "Server side of `{}`, blocking: each method runs on a thread of the server until it returns.",
        service.full_name
    );
    write_docs(buf, 0, &service.comments, &own);
    let name = &service.types.blocking;
    line(buf, 0, &format!("pub trait {name}: ::std::marker::Send + ::std::marker::Sync + 'static {{"));
    for method in &service.methods {
        write_docs(buf, 1, &method.comments, &format!("Answers `{}`.", method.full_name));
        line(buf, 1, &format!("fn {}(", method.ident));
        line(buf, 2, "&self,");
        line(buf, 2, &format!("request: ::mmap_rpc::Request<{}>,", method.request));
        line(
            buf,
            1,
            &format!(
                ") -> ::std::result::Result<::mmap_rpc::Response<{}>, ::mmap_rpc::Status>;",
                method.response
            ),
        );
    }
    line(buf, 0, "}");
}

fn write_struct(service: &Service, buf: &mut String) {
    let (name, blocking) = (&service.types.server, &service.types.blocking);
    line(buf, 0, &format!("/// Routes calls of `{}` to a [`{blocking}`].", service.full_name));
    line(buf, 0, "#[derive(Debug)]");
    line(buf, 0, &format!("pub struct {name}<T> {{"));
    line(buf, 1, "service: ::std::sync::Arc<T>,");
    line(buf, 0, "}");

    line(buf, 0, &format!("impl<T: {blocking}> {name}<T> {{"));
    line(buf, 1, "/// Full name of the service.");
    line(buf, 1, &format!("pub const NAME: &'static str = {:?};", service.full_name));
    service.write_methods(buf);
    write_descriptors(service, buf);
    line(buf, 1, "/// Serves an implementation.");
    line(buf, 1, "pub fn new(service: T) -> Self {");
    line(buf, 2, "Self::from_arc(::std::sync::Arc::new(service))");
    line(buf, 1, "}");
    line(buf, 1, "/// Serves an implementation that others hold as well.");
    line(buf, 1, "pub fn from_arc(service: ::std::sync::Arc<T>) -> Self {");
    line(buf, 2, "Self { service }");
    line(buf, 1, "}");
    line(buf, 0, "}");

    // Not derived: that would ask `Clone` of the implementation, which is shared and not cloned.
    line(buf, 0, &format!("impl<T> ::std::clone::Clone for {name}<T> {{"));
    line(buf, 1, "fn clone(&self) -> Self {");
    line(buf, 2, "Self { service: ::std::sync::Arc::clone(&self.service) }");
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

fn write_routing(service: &Service, buf: &mut String) {
    let (name, blocking) = (&service.types.server, &service.types.blocking);
    line(buf, 0, &format!("impl<T: {blocking}> ::mmap_rpc::server::Service for {name}<T> {{"));
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
            line(
                buf,
                3,
                &format!("{index} => exchange.unary(|request| T::{ident}(&self.service, request)),"),
            );
        }
        line(buf, 3, "_ => exchange.unimplemented(),");
        line(buf, 2, "}");
    }
    line(buf, 1, "}");
    line(buf, 0, "}");
}
