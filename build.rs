//! Compiles the control messages, and the services that the library itself offers, in pure Rust: nobody needs
//! protoc.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use protox::prost_reflect::prost::Message;

/// Services of the library's own, and the files that their descriptors become.
const SERVICES: [(&str, &str); 2] =
    [("mmap_rpc/descriptors.proto", "descriptors.bin"), ("grpc/health/v1/health.proto", "health.bin")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/mmap_rpc.proto"], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;

    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    for (proto, descriptors) in SERVICES {
        let mut set = protox::compile([proto], ["proto"])?;
        prost_build::Config::new().bytes(["."]).compile_fds(set.clone())?;
        // Comments are what a description is for; where other things stand in the file is of no use.
        for info in set.file.iter_mut().filter_map(|file| file.source_code_info.as_mut()) {
            info.location.retain(|at| at.leading_comments.is_some() || at.trailing_comments.is_some());
        }
        fs::write(Path::new(&out).join(descriptors), set.encode_to_vec())?;
    }
    Ok(())
}
