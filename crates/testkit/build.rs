//! Turns the `.proto` files into messages, clients and servers.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/demo.proto", "proto/echo.proto", "proto/interop.proto"];
    Ok(mmap_rpc_build::compile_protos(&protos, &["proto"])?)
}
