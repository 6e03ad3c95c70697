//! Turns `proto/hello.proto` into messages, a client and a server.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(mmap_rpc_build::compile_protos(&["proto/hello.proto"], &["proto"])?)
}
