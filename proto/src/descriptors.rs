//! The schema of the messages we send, compiled from the `.proto` files that
//! envoy-types ships (see `examples/generate_descriptors.rs`).

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("gen/descriptors.bin").as_slice()).unwrap_or_else(|error| {
        // The file is part of this build; a test decodes it.
        unreachable!("the bundled descriptors are valid: {error}")
    })
});

/// The message that a type URL (`type.googleapis.com/<name>`) names, if we know it.
pub fn of_type_url(type_url: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(type_url.rsplit('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_we_serve_is_known() {
        for served in crate::ResourceType::ALL {
            assert!(of_type_url(served.type_url()).is_some(), "{served:?}");
        }
        assert!(of_type_url("type.googleapis.com/no.such.Message").is_none());
    }
}
