//! What holds for every request.

use proptest::prelude::*;
use prost::Message as _;
use proto::envoy::service::auth::v3 as pb;

use crate::support::{ask, authority, check, one_key, read};

proptest! {
    #[test]
    fn nothing_but_the_key_lets_a_request_pass(header in "\\PC*", name in "[a-z-]{1,12}") {
        let authority = authority(&one_key("mykey"));
        let answer = |name: &str, value: &str| read(&ask(&authority, &check(Some("default.keys"), &[(name, value)]))).status;
        prop_assert_eq!(answer("api-key", &header), if header == "mykey" { 200 } else { 401 });
        prop_assert_eq!(answer(&name, "mykey"), if name == "api-key" { 200 } else { 401 });
        for near in ["mykey ", " mykey", "Mykey", "mykey\n", "mykeymykey", "myke"] {
            prop_assert_eq!(answer("api-key", near), 401);
        }
    }

    /// Any bytes that decode as a check: an answer, and never a yes.
    #[test]
    fn arbitrary_messages_are_denied(bytes in prop::collection::vec(any::<u8>(), 0..200), tail in "\\PC{0,40}") {
        let authority = authority(&one_key("mykey"));
        if let Ok(message) = pb::CheckRequest::decode(bytes.as_slice()) {
            prop_assert_ne!(read(&ask(&authority, &message)).status, 200);
        }
        for id in [tail.as_str(), "default.keys", "default", ".", "default.keys."] {
            let mut message = check(Some(id), &[("x", &tail)]);
            prop_assert_ne!(read(&ask(&authority, &message)).status, 200);
            message.attributes.as_mut().unwrap().request = None;
            prop_assert_ne!(read(&ask(&authority, &message)).status, 200);
        }
    }
}
