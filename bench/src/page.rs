//! Tables of figures in pages of the documentation.

use std::path::Path;

use anyhow::Context as _;

/// Puts `table` between the lines `<!-- NAME begins -->` and `<!-- NAME ends -->` of `file`.
///
/// # Errors
/// When the file cannot be read or written, or has no such lines.
pub fn replace(file: &Path, name: &str, table: &str) -> anyhow::Result<()> {
    let (begin, end) = (format!("<!-- {name} begins -->"), format!("<!-- {name} ends -->"));
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let marks = || format!("{} needs the lines {begin} and {end}", file.display());
    let (before, rest) = text.split_once(&begin).with_context(marks)?;
    let (_, after) = rest.split_once(&end).with_context(marks)?;
    std::fs::write(file, format!("{before}{begin}\n{table}{end}{after}"))
        .with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_one_before_and_of_nothing_else() {
        let page = tempfile::NamedTempFile::new().unwrap();
        let other = "<!-- b begins -->\nother\n<!-- b ends -->";
        std::fs::write(page.path(), format!("above\n<!-- a begins -->\nformer\n<!-- a ends -->\n{other}\n")).unwrap();
        replace(page.path(), "a", "new\n").unwrap();
        let text = std::fs::read_to_string(page.path()).unwrap();
        assert_eq!(text, format!("above\n<!-- a begins -->\nnew\n<!-- a ends -->\n{other}\n"));
        assert!(replace(page.path(), "c", "").is_err());
    }
}
