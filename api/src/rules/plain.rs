//! Kinds without rules of their own, on which nothing depends but what names them.

use super::prelude::*;
pub(crate) use crate::decode::warning as decode;

pub fn validate<T>(_: &mut T) -> Vec<Problem> {
    Vec::new()
}

/// Nothing: where such an object is missing, whoever names it is refused or gets less.
pub fn reach(_: &Raw<'_>) -> Reach {
    Reach::Known(Vec::new())
}
