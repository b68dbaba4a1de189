//! Regular expressions, as Envoy compiles them: RE2's syntax over bytes, and a bound on the size of the program.
//!
//! The parser here reads RE2's grammar, not Rust's. Envoy has RE2 take text for
//! Latin-1: a character beyond ASCII is a sequence of bytes, which matches as
//! such, and makes no sense inside a class, under `(?i)`, or repeated. Those are
//! refused, and so are classes of Unicode. What RE2 has and we refuse besides,
//! because nobody needs it in a route: `\C`, octal escapes other than `\0`,
//! `(?)` without flags, `\E` without `\Q`, and groups nested deeper than [`DEEPEST`].
//!
//! The size is an upper bound. RE2 merges common beginnings and neighbouring
//! classes, which only makes its program smaller than what is counted here.
//! Counting takes no longer than reading the pattern: a repetition multiplies a number.

mod class;
mod parse;

use parse::Parser;

/// What Envoy compiles at most, in instructions; its bootstrap says so with this number.
pub const MOST_INSTRUCTIONS: usize = 1000;
/// Bytes of one expression.
pub const MOST_BYTES: usize = 4096;
/// Groups inside groups.
pub const DEEPEST: usize = 64;
/// Whether Envoy takes `pattern`, and to how many instructions it compiles at most.
pub fn check(pattern: &str) -> Result<usize, String> {
    if pattern.is_empty() {
        return Err("an empty regular expression matches nothing but the empty text; write .* for anything".to_owned());
    }
    if pattern.len() > MOST_BYTES {
        return Err(format!("a regular expression of {} bytes; at most {MOST_BYTES} are allowed", pattern.len()));
    }
    let instructions =
        Parser::new(pattern).parse().map_err(|why| format!("not a regular expression in RE2's syntax: {why}"))?;
    if instructions > MOST_INSTRUCTIONS {
        return Err(format!(
            "a regular expression too large for Envoy: it compiles to about {instructions} instructions, and {MOST_INSTRUCTIONS} are allowed; write smaller repetitions or classes"
        ));
    }
    Ok(instructions)
}

#[cfg(test)]
mod tests;
