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
