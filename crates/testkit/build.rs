//! Turns the `.proto` files into messages, clients and servers.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(mmap_rpc_build::compile_protos(&["proto/echo.proto", "proto/interop.proto"], &["proto"])?)
}
