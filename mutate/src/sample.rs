//! Which mutants are tried when not all are: the same ones for the same seed.

use std::collections::{BTreeMap, BTreeSet};

use crate::find::Mutant;
use crate::scope;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Every mutant.
    All,
    /// So many, of each area in proportion to what it has.
    Some(usize),
    /// Those whose name contains this.
    Named(String),
    /// Those of these names: after `@`, a file with one on each line, such as those that lived last time.
    Listed(BTreeSet<String>),
}

impl Choice {
    /// As `all`, a number, or a part of a name.
    pub fn read(text: &str) -> Choice {
        match text.parse() {
            Ok(number) => Choice::Some(number),
            Err(_) if text == "all" => Choice::All,
            Err(_) if text.starts_with('@') => {
                let listed = std::fs::read_to_string(text.trim_start_matches('@')).unwrap_or_default();
                Choice::Listed(listed.lines().map(str::to_owned).collect())
            }
            Err(_) => Choice::Named(text.to_owned()),
        }
    }
}

/// The mutants to try, in the order of the source.
pub fn sample<'m>(mutants: &'m [Mutant], choice: &Choice, seed: &str) -> Vec<&'m Mutant> {
    let most = match choice {
        Choice::All => return mutants.iter().collect(),
        Choice::Named(part) => return mutants.iter().filter(|mutant| mutant.key().contains(part.as_str())).collect(),
        Choice::Listed(names) => return mutants.iter().filter(|mutant| names.contains(&mutant.key())).collect(),
        Choice::Some(most) => *most,
    };
    let mut by_area: BTreeMap<Option<usize>, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_area.entry(scope::area(&mutant.file)).or_default().push(mutant);
    }
    let mut chosen: Vec<&Mutant> = Vec::new();
    for of_area in by_area.values_mut() {
        of_area.sort_by_cached_key(|mutant| *blake3::hash(format!("{seed} {}", mutant.key()).as_bytes()).as_bytes());
        let share = (most * of_area.len()).div_ceil(mutants.len().max(1));
        chosen.extend(of_area.iter().take(share));
    }
    chosen.sort_by_key(|mutant| mutant.id);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(file: &str, count: usize) -> impl Iterator<Item = Mutant> {
        let file = file.to_owned();
        (0..count).map(move |number| Mutant {
            id: number as u32,
            file: file.clone(),
            line: 1,
            function: "f".into(),
            change: format!("{number}"),
            group: 0,
            twin: 1,
        })
    }

    #[test]
    fn a_sample_has_of_every_area_and_is_the_same_for_the_same_seed() {
        let all: Vec<Mutant> = mutants("extauth/src/chain.rs", 90).chain(mutants("tunnel/src/plan.rs", 10)).collect();
        let some = sample(&all, &Choice::read("20"), "1");
        assert_eq!((some.len(), some.iter().filter(|mutant| mutant.file.starts_with("tunnel")).count()), (20, 2));
        assert_eq!(some, sample(&all, &Choice::Some(20), "1"));
        assert_ne!(some, sample(&all, &Choice::Some(20), "2"));
        assert_eq!(sample(&all, &Choice::read("all"), "1").len(), 100);
        assert_eq!(sample(&all, &Choice::read("tunnel/"), "1").len(), 10);
        let listed = [all[3].key(), all[95].key(), "gone".to_owned()];
        assert_eq!(sample(&all, &Choice::Listed(listed.into()), "1"), [&all[3], &all[95]]);
    }
}
