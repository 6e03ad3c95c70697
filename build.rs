//! Compiles the control messages, in pure Rust: nobody needs protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/mmap_rpc.proto");
    let descriptors = protox::compile(["proto/mmap_rpc.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
