//! Turns `proto/route_guide.proto` into messages, a client and a server.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(mmap_rpc_build::compile_protos(&["proto/route_guide.proto"], &["proto"])?)
}
