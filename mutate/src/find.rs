//! Finds what can be changed in a source file: the mutants, and the edits that put them behind switches.
//!
//! Left out are tests, constants, patterns, what macros take, and how values print themselves.

mod expressions;
mod functions;
mod methods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;

use crate::edit::Edits;

/// The module that the mutated crates get.
pub const SWITCH: &str = "crate::mutant_switch";

/// One change of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// The number that turns it on.
    pub id: u32,
    /// The file, from the root of the workspace.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The function, with the type it belongs to.
    pub function: String,
    /// What is changed.
    pub change: String,
    /// Which edits it needs.
    pub group: usize,
    /// Tells it apart from others in the same function that read the same; 1 for the first.
    pub twin: usize,
}

impl Mutant {
    /// What it is called, the same as long as nobody changes what it changes.
    pub fn key(&self) -> String {
        let twin = if self.twin > 1 { format!(" #{}", self.twin) } else { String::new() };
        format!("{} {}: {}{twin}", self.file, self.function, self.change)
    }
}

/// A file's mutants.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// In the order of the source.
    pub mutants: Vec<Mutant>,
    /// What puts them behind switches.
    pub edits: Edits,
}

/// The mutants of `source`, numbered from `base`.
pub fn find(file: &str, source: &str, base: u32) -> syn::Result<Found> {
    let parsed = syn::parse_file(source)?;
    let mut finder = Finder { source, file, base, path: Vec::new(), found: Found::default(), groups: 0 };
    let imports = finder.group();
    finder.import(imports, &parsed.items);
    finder.items(&parsed.items);
    let mut found = finder.found;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mut found.mutants {
        let count = seen.entry(mutant.key()).or_default();
        *count += 1;
        mutant.twin = *count;
    }
    Ok(found)
}

struct Finder<'s> {
    source: &'s str,
    file: &'s str,
    base: u32,
    /// Modules, type and function that are being read.
    path: Vec<String>,
    found: Found,
    groups: usize,
}

impl Finder<'_> {
    fn group(&mut self) -> usize {
        self.groups += 1;
        self.groups - 1
    }

    /// A mutant of what stands at `range`, in `group`; its number.
    fn mutant(&mut self, group: usize, range: &Range<usize>, change: String) -> u32 {
        let id = self.base + self.found.mutants.len() as u32;
        let line = self.source.get(..range.start).unwrap_or_default().matches('\n').count() + 1;
        let (file, function) = (self.file.to_owned(), self.path.join("::"));
        self.found.mutants.push(Mutant { id, file, line, function, change, group, twin: 1 });
        id
    }

    /// The text of a part of the source, on one line and not too long.
    fn snippet(&self, of: &impl Spanned) -> String {
        let text = self.source.get(range(of)).unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "'");
        let letters: Vec<char> = text.chars().collect();
        match letters.len() {
            0..=72 => text,
            long => {
                let (front, back): (String, String) =
                    (letters[..40].iter().collect(), letters[long - 30..].iter().collect());
                format!("{front}…{back}")
            }
        }
    }

    /// Traits of the switch for a module that begins with `items`.
    fn import(&mut self, group: usize, items: &[syn::Item]) {
        if let Some(first) = items.first() {
            let text = format!("#[allow(unused_imports)] use {SWITCH}::prelude::*; ");
            self.found.edits.before(group, range(first).start, text);
        }
    }
}

/// Where `node` stands.
fn range(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}
