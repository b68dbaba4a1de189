//! Writes `src/gen/ratelimit.bin`: the schema of the rate-limit services, for gRPC reflection.
//!
//! ```text
//! cargo run -p ratelimit --example generate_descriptors -- <envoy-types sources>/proto
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).expect("the proto folder of the envoy-types sources"));
    let folders = ["data-plane-api", "googleapis", "protoc-gen-validate", "xds"];
    let mut compiler = protox::Compiler::new(folders.map(|folder| root.join(folder))).unwrap();
    compiler.include_source_info(false).include_imports(true);
    compiler
        .open_files(["envoy/service/ratelimit/v3/rls.proto", "envoy/service/rate_limit_quota/v3/rlqs.proto"])
        .unwrap();
    let bytes = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/gen/ratelimit.bin");
    std::fs::write(&out, &bytes).unwrap();
    println!("{} bytes to {}", bytes.len(), out.display());
}
