//! The client's half: a handle on a channel with one method for each of the service's.

use super::{Method, Service, Shape, line, write_docs};

/// Writes the client of a service.
pub(super) fn write(service: &Service, buf: &mut String) {
    let name = &service.types.client;
    write_struct(service, buf);
    line(buf, 0, &format!("impl {name} {{"));
    service.write_methods(buf);
    write_constructors(service, buf);
    for (index, method) in service.methods.iter().enumerate() {
        write_method(index, method, buf);
    }
    line(buf, 0, "}");
    line(buf, 0, &format!("impl ::std::convert::From<::mmap_rpc::Channel> for {name} {{"));
    line(buf, 1, "fn from(channel: ::mmap_rpc::Channel) -> Self {");
    line(buf, 2, "Self::new(channel)");
    line(buf, 1, "}");
    line(buf, 0, "}");
}

fn write_method(index: usize, method: &Method, buf: &mut String) {
    let Method { full_name, ident, shape, request, response, .. } = method;
    write_docs(buf, 1, &method.comments, &format!("Calls `{full_name}`{}.", shape.described()));
    if method.deprecated {
        line(buf, 1, "#[deprecated]");
    }
    line(buf, 1, &format!("pub fn {ident}("));
    line(buf, 2, "&self,");
    // Where the requests are a stream, the call comes first, and they go through what it opens.
    let mut arguments = format!("&self.methods[{index}]");
    if !shape.requests_stream() {
        // `Into` by its path: a message may bear that name.
        line(buf, 2, &format!("request: impl ::std::convert::Into<::mmap_rpc::Request<{request}>>,"));
        arguments += ", request.into()";
    }
    let call = match shape {
        Shape::Unary => "Call",
        Shape::ServerStreaming => "ServerStreamingCall",
        Shape::ClientStreaming => "ClientStreamingCall",
        Shape::BidiStreaming => "BidiStreamingCall",
    };
    line(buf, 1, &format!(") -> ::mmap_rpc::{call}<'_, {request}, {response}> {{"));
    line(buf, 2, &format!("self.channel.{}({arguments})", shape.ident()));
    line(buf, 1, "}");
}

fn write_struct(service: &Service, buf: &mut String) {
    let own = format!(
        "Client side of `{}`: opens calls on a channel. Clones share the channel.",
        service.full_name
    );
    write_docs(buf, 0, &service.comments, &own);
    if service.deprecated {
        line(buf, 0, "#[deprecated]");
    }
    line(buf, 0, "#[derive(Debug, Clone)]");
    line(buf, 0, &format!("pub struct {} {{", service.types.client));
    line(buf, 1, "channel: ::mmap_rpc::Channel,");
    // Without methods nothing would ever read the field.
    if !service.methods.is_empty() {
        line(buf, 1, &format!("methods: [::mmap_rpc::Method; {}],", service.methods.len()));
    }
    line(buf, 0, "}");
}

fn write_constructors(service: &Service, buf: &mut String) {
    line(buf, 1, "/// Opens calls on a channel that exists; several clients may share one.");
    line(buf, 1, "pub fn new(channel: ::mmap_rpc::Channel) -> Self {");
    if service.methods.is_empty() {
        line(buf, 2, "Self { channel }");
    } else {
        line(buf, 2, "let methods = Self::METHODS.map(|name| channel.method(name));");
        line(buf, 2, "Self { channel, methods }");
    }
    line(buf, 1, "}");
    line(
        buf,
        1,
        "/// The same, with an interceptor that looks at each call of this client before it is sent.",
    );
    line(buf, 1, "pub fn with_interceptor(");
    line(buf, 2, "channel: ::mmap_rpc::Channel,");
    line(buf, 2, "interceptor: impl ::mmap_rpc::Interceptor<::mmap_rpc::OutgoingCall>,");
    line(buf, 1, ") -> Self {");
    line(buf, 2, "Self::new(channel.intercepted(interceptor))");
    line(buf, 1, "}");
    line(
        buf,
        1,
        "/// A client with a channel of its own to the server that listens on the socket at `path`, to be",
    );
    line(buf, 1, "/// waited for.");
    line(buf, 1, "pub fn connect(");
    line(buf, 2, "path: impl ::std::convert::AsRef<::std::path::Path>,");
    line(buf, 1, ") -> ::mmap_rpc::Connect<Self> {");
    line(buf, 2, "::mmap_rpc::Channel::connect(path).client()");
    line(buf, 1, "}");
    line(buf, 1, "/// The channel that calls are opened on.");
    line(buf, 1, "pub fn channel(&self) -> &::mmap_rpc::Channel {");
    line(buf, 2, "&self.channel");
    line(buf, 1, "}");
}
