//! Never: manifests that panic the translation, or that two translations of differ.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waykeeper_fuzz::{documents, snapshot};
use waypoint_translate::{Bind, GrpcTarget, Settings, Translation, translate};

fuzz_target!(|bytes: &[u8]| {
    let documents = documents(bytes);
    let (first, second) = (snapshot(&documents), snapshot(&documents));
    for bind in [Bind::Loopback, Bind::PerGateway] {
        let settings = Settings {
            bind,
            extauth: Some(GrpcTarget::Unix("/run/extauth.sock".into())),
            ratelimit: Some(GrpcTarget::Tcp { host: "localhost".into(), port: 18081 }),
            ..Settings::default()
        };
        assert_same(&translate(&first, &settings), &translate(&second, &settings));
    }
});

fn assert_same(one: &Translation, other: &Translation) {
    assert_eq!(one.report, other.report);
    assert_eq!(one.services, other.services);
    assert!(one.gateways.keys().eq(other.gateways.keys()));
    for (one, other) in one.gateways.values().zip(other.gateways.values()) {
        assert_eq!(one.resources, other.resources);
        assert_eq!(one.origins, other.origins);
        assert_eq!(one.address, other.address);
    }
}
