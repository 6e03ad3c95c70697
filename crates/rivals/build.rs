//! Generates the tonic services, from a description in Rust that needs no protoc.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name, route, input, output| {
        let method = Method::builder().name(name).route_name(route).input_type(input).output_type(output);
        method.codec_path("tonic_prost::ProstCodec").build()
    };
    let echo = method("echo", "Echo", "bytes::Bytes", "bytes::Bytes");
    let set = method("set", "Set", "super::Lent<super::SetRequest>", "super::SetReply");
    let get = method("get", "Get", "super::GetRequest", "super::Lent<super::GetReply>");
    let service = |name| Service::builder().package("bench").name(name);
    let services = [service("Echo").method(echo).build(), service("Store").method(set).method(get).build()];
    Builder::new().compile(&services);
    println!("cargo:rerun-if-changed=build.rs");
}
