//! Writes the schemas that stand in the repository:
//!
//! - `proto/src/gen/descriptors.bin`, of the messages we print and digest;
//! - `extauth/src/gen/authorization.bin` and `ratelimit/server/src/gen/ratelimit.bin`, of the services, for gRPC reflection.
//!
//! ```text
//! cargo run -p waykeeper-proto --example generate_descriptors -- <envoy-types sources>/proto
//! ```
//! The `.proto` files are those inside the envoy-types crate, so that schema and
//! Rust types are of one version. Source information is left out.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;

/// What is written where, from the repository's root, and the files it is made of; what they import comes along.
const SCHEMAS: [(&str, &[&str]); 3] = [
    ("proto/src/gen/descriptors.bin", SENT),
    ("extauth/src/gen/authorization.bin", &["envoy/service/auth/v3/external_auth.proto"]),
    (
        "ratelimit/server/src/gen/ratelimit.bin",
        &["envoy/service/ratelimit/v3/rls.proto", "envoy/service/rate_limit_quota/v3/rlqs.proto"],
    ),
];

/// The files whose messages stand in what we send.
const SENT: &[&str] = &[
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/grpc/v3/als.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/filter_chain/v3/filter_chain.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/on_demand/v3/on_demand.proto",
    "envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/http/set_metadata/v3/set_metadata.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/http/original_ip_detection/xff/v3/xff.proto",
    "envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/matching/common_inputs/network/v3/network_inputs.proto",
    "envoy/extensions/matching/input_matchers/ip/v3/ip.proto",
    "envoy/extensions/matching/input_matchers/metadata/v3/metadata.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/type/matcher/v3/http_inputs.proto",
    "google/protobuf/wrappers.proto",
    "xds/type/matcher/v3/matcher.proto",
];

fn main() {
    let root = PathBuf::from(std::env::args().nth(1).expect("the proto folder of the envoy-types sources"));
    let includes: Vec<PathBuf> = [
        "data-plane-api",
        "googleapis",
        "opentelemetry-proto",
        "protoc-gen-validate",
        "xds",
        "cel-spec/proto",
        "client_model",
    ]
    .iter()
    .map(|folder| root.join(folder))
    .collect();
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for (out, files) in SCHEMAS {
        let mut compiler = protox::Compiler::new(&includes).unwrap();
        compiler.include_source_info(false).include_imports(true);
        compiler.open_files(files).unwrap();
        let bytes = compiler.encode_file_descriptor_set();
        std::fs::write(repository.join(out), &bytes).unwrap();
        println!("{} bytes to {out}", bytes.len());
    }
}
