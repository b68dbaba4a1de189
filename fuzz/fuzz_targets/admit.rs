//! Never: a document that panics admission, is rejected without an error, or is admitted differently the next time.
#![no_main]

use api::problem::has_errors;
use libfuzzer_sys::fuzz_target;
use waykeeper_fuzz::documents;

fuzz_target!(|bytes: &[u8]| {
    for document in documents(bytes) {
        let admission = api::admit(&document);
        assert!(!admission.rejected() || has_errors(&admission.problems), "rejected without a reason: {document}");
        if let (false, Some(object)) = (admission.rejected(), &admission.object) {
            assert_eq!(Some(object.reference()), admission.reference, "admitted under another name");
        }
        let again = api::admit(&document);
        assert_eq!((&admission.reference, &admission.problems), (&again.reference, &again.problems));
    }
});
