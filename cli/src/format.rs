//! In which form commands print.
#![allow(clippy::print_stdout, reason = "printing is what these commands are for")]

use clap::ValueEnum;
use serde_json::Value;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only.
    Name,
}

/// Prints `value` for programs.
pub fn print(value: &Value, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Yaml => print!("{}", serde_norway::to_string(value)?),
        _ => println!("{value:#}"),
    }
    Ok(())
}
