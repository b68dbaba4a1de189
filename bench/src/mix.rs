//! The loads that are compared.

use std::fmt;

use crate::message::{Set, Shape};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Descriptors of each request.
    pub descriptors: u32,
    /// Different values.
    pub keys: u32,
    /// Rules of a set.
    pub rules: u32,
    /// In ten requests, how many are refused.
    pub refused_in_ten: u64,
}

/// What others are measured against: few rules, some keys.
pub const PLAIN: Mix = Mix { descriptors: 1, keys: 1_000, rules: 10, refused_in_ten: 0 };
/// [`PLAIN`] with many rules.
pub const MANY_RULES: Mix = Mix { rules: 10_000, ..PLAIN };

impl Mix {
    /// Every mix, or the few that tell most.
    pub fn list(quick: bool) -> Vec<Mix> {
        if quick {
            let keys = 1_000_000;
            return vec![
                Mix { keys: 1, ..PLAIN },
                PLAIN,
                Mix { descriptors: 8, ..PLAIN },
                Mix { keys, refused_in_ten: 9, ..PLAIN },
                Mix { descriptors: 8, keys, ..PLAIN },
                MANY_RULES,
            ];
        }
        let mut all = Vec::new();
        for descriptors in [1, 2, 8] {
            for keys in [1, 1_000, 1_000_000] {
                for refused_in_ten in [0, 9] {
                    all.push(Mix { descriptors, keys, rules: 10, refused_in_ten });
                }
            }
        }
        all.push(Mix { rules: 1_000, ..PLAIN });
        all.push(MANY_RULES);
        all
    }

    /// Whether all requests hit the same counter.
    pub fn is_one_hot_key(&self) -> bool {
        self.descriptors == 1 && self.keys == 1
    }

    /// The requests of this mix.
    pub fn shape(&self) -> Shape {
        Shape {
            descriptors: self.descriptors,
            keys: self.keys,
            rules: self.rules,
            refused_in_ten: self.refused_in_ten,
            set: Set::Open,
            counting: false,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mix { descriptors, keys, rules, refused_in_ten } = self;
        let text = format!("{descriptors} desc, {keys} keys, {rules} rules, {}0% over", refused_in_ten);
        f.pad(&text.replace("00% over", "0% over").replace(" 0% over", " none over"))
    }
}
