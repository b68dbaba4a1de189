//! What this process's memory is made of.

/// Has the system hand out memory in small pages, or again in pages of whichever size it finds best.
///
/// A server that holds very many small objects takes a quarter less in small ones: where some of what
/// shared a huge page is gone, the whole of it stays in use. A process that is started, or that this
/// one becomes, inherits the choice.
pub fn in_small_pages(small: bool) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(small) {
        tracing::debug!(%error, "pages stay as the system has them");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = small;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_choice_can_be_made_and_taken_back() {
        for small in [true, false] {
            super::in_small_pages(small);
            assert_eq!(rustix::thread::transparent_huge_pages_are_disabled().ok(), Some(small));
        }
    }
}
