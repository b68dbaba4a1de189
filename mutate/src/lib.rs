//! Mutation testing of the code that decides.
//!
//! ```text
//! scope ─▶ find (syn) ─▶ edit ─▶ tree ─▶ build ─▶ suite (record) ─▶ judge ─▶ report
//! ```
//! Every mutant stands in one build, behind a switch (`switch.rs`) that the variable `MUTANT` turns on.
//! A first run of every test by itself records which switches it reaches; a mutant is then tried
//! with those tests only, the quick ones first, until one fails.

pub mod build;
pub mod edit;
pub mod find;
pub mod judge;
pub mod reasons;
pub mod recorded;
pub mod report;
pub mod sample;
pub mod scope;
pub mod suite;
pub mod tree;

#[cfg(test)]
#[path = "switch.rs"]
mod switch;

#[cfg(test)]
mod switch_tests {
    //! What a mutated crate is given.

    use super::switch::{is_one_at_most, only_first};

    #[test]
    fn an_option_has_one_at_most_whatever_is_done_to_it_and_a_list_may_have_more() {
        fn of<I: Iterator>(_: &I) -> bool {
            is_one_at_most::<I>()
        }
        let (one, list) = (Some(1), vec![1]);
        assert!(of(&one.iter()) && of(&one.into_iter()) && of(&std::iter::once(1)));
        assert!(of(&one.iter().filter(|n| **n > 1).map(|n| n + 1).enumerate()));
        assert!(!of(&list.iter()) && !of(&list.iter().map(Some)));
        // One list at most, but what is in it may be several.
        assert!(!of(&Some(&list).into_iter().flatten()) && !of(&one.iter().chain(&one)));
        assert_eq!(only_first(0, &list).count(), 1);
    }
}
