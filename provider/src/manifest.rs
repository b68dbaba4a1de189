//! The bytes of one file become manifest documents: pure, bounded, never quoting a value.

pub(crate) mod locate;
mod value;

use serde_json::Value;

use crate::board::FileProblem;
use value::Budget;

/// How much one file may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of the file.
    pub bytes: u64,
    /// Documents, items of lists counted one by one.
    pub documents: usize,
    /// Mappings, sequences and scalars, after aliases are followed.
    pub nodes: usize,
    /// Bytes of all scalars, after aliases are followed.
    pub text: usize,
}

impl Limits {
    pub(crate) const DEFAULT: Limits = Limits { bytes: 4 << 20, documents: 10_000, nodes: 400_000, text: 16 << 20 };
}

/// One manifest and where it stands.
#[derive(Debug)]
pub(crate) struct Document {
    /// Number in the file from 1; items of a list share their list's.
    pub number: usize,
    /// Line where the document begins, from 1.
    pub line: usize,
    /// The manifest.
    pub value: Value,
}

/// What could be read of a file. With an error, the file as a whole must not be served.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub documents: Vec<Document>,
    pub error: Option<FileProblem>,
}

/// Reads YAML documents, or JSON ones if `json`.
pub(crate) fn parse(bytes: &[u8], json: bool, limits: Limits) -> Parsed {
    let mut parsed = Parsed::default();
    if bytes.len() as u64 > limits.bytes {
        parsed.error = Some(too_big(limits));
        return parsed;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            let message = "not UTF-8 text; save the file as UTF-8".to_owned();
            parsed.error = Some(FileProblem { line: Some(line), column: Some(column), ..FileProblem::whole(message) });
            return parsed;
        }
    };
    let mut reader = Reader {
        parsed,
        budget: Budget::new(limits.nodes, limits.text),
        limits,
        number: 0,
        guarded: mentions_secret(text),
        full: false,
    };
    if json {
        reader.json(text)
    } else {
        reader.yaml(text)
    }
    reader.parsed
}

pub(crate) fn too_big(limits: Limits) -> FileProblem {
    FileProblem::whole(format!("larger than {} MiB; split it into several files", limits.bytes >> 20))
}

/// Whether messages about this file must not repeat anything of it.
fn mentions_secret(text: &str) -> bool {
    text.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"secret"))
}

struct Reader {
    parsed: Parsed,
    budget: Budget,
    limits: Limits,
    number: usize,
    guarded: bool,
    /// As many documents were read as may be: the rest is not even looked at.
    full: bool,
}

impl Reader {
    fn json(&mut self, text: &str) {
        let mut de = serde_json::Deserializer::from_str(text);
        while !self.full && de.end().is_err() {
            match self.budget.read(&mut de) {
                Ok(value) => self.document(1, value),
                Err(error) => {
                    let described = error.to_string();
                    let message = described.split(" at line ").next().unwrap_or_default();
                    let (line, column) = (error.line(), error.column());
                    self.fail("JSON", line, column, message);
                    return;
                }
            }
        }
    }

    fn yaml(&mut self, text: &str) {
        for chunk in chunks(text) {
            if chunk.text.lines().all(is_blank) {
                continue;
            }
            if let Some((line, column)) = too_deep(chunk.text) {
                self.fail("YAML", chunk.line + line, column, "nested too deeply");
                continue;
            }
            if self.budget.is_below(top_level_items(chunk.text)) {
                return self.fail("YAML", chunk.line, 1, value::TOO_MUCH);
            }
            for de in serde_norway::Deserializer::from_str(chunk.text) {
                match self.budget.read(de) {
                    Ok(value) => self.document(chunk.line, value),
                    Err(_) => {
                        self.yaml_error(&chunk);
                        // What follows inside this chunk has no boundary of its own any more.
                        break;
                    }
                }
            }
            if self.budget.spent() || self.full {
                return;
            }
        }
    }

    /// Parses the chunk again at its place in the file, so that positions in the message are the file's.
    fn yaml_error(&mut self, chunk: &Chunk<'_>) {
        if self.parsed.error.is_some() {
            return;
        }
        // Reading it again would take as long and say no more.
        if self.budget.spent() {
            return self.fail("YAML", chunk.line, 1, value::TOO_MUCH);
        }
        let placed = "\n".repeat(chunk.line - 1) + chunk.text;
        let budget = Budget::new(self.limits.nodes, self.limits.text);
        let error = serde_norway::Deserializer::from_str(&placed).find_map(|de| budget.read(de).err());
        let Some(error) = error else {
            return self.fail("YAML", chunk.line, 1, "cannot be read");
        };
        let (line, column) = error.location().map_or((chunk.line, 1), |at| (at.line(), at.column()));
        let message = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
        let tab = chunk.text.lines().nth(line.saturating_sub(chunk.line)).and_then(|l| l.chars().nth(column - 1));
        let hint = if tab == Some('\t') { "; indent with spaces, not tabs" } else { "" };
        self.fail("YAML", line, column, &format!("{message}{hint}"));
    }

    fn fail(&mut self, language: &str, line: usize, column: usize, message: &str) {
        let message = if self.guarded {
            format!("not valid {language} (details withheld: the file holds a Secret)")
        } else {
            format!("not valid {language}: {message}")
        };
        let problem = FileProblem { line: Some(line), column: Some(column), ..FileProblem::whole(message) };
        self.parsed.error.get_or_insert(problem);
    }

    /// Takes a document; a list is taken as its items.
    fn document(&mut self, line: usize, value: Value) {
        if value.is_null() {
            return;
        }
        self.number += 1;
        self.object(line, value);
    }

    fn object(&mut self, line: usize, mut value: Value) {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text(&value, "kind");
        if let Some(item_kind) = kind.strip_suffix("List")
            && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take)
        {
            let api_version = text(&value, "apiVersion");
            for mut item in items {
                // Items of a typed list (`ServiceList`) leave out what the list says.
                if let (Value::Object(item), false) = (&mut item, item_kind.is_empty()) {
                    item.entry("kind").or_insert_with(|| item_kind.into());
                    item.entry("apiVersion").or_insert_with(|| api_version.clone().into());
                }
                self.object(line, item);
            }
            return;
        }
        if self.parsed.documents.len() >= self.limits.documents {
            let message = format!("more than {} objects in one file; split it", self.limits.documents);
            self.parsed.error.get_or_insert(FileProblem { line: Some(line), ..FileProblem::whole(message) });
            self.full = true;
            return;
        }
        self.parsed.documents.push(Document { number: self.number, line, value });
    }
}

struct Chunk<'a> {
    line: usize,
    text: &'a str,
}

/// Cuts a stream at its `---` lines, which end a document wherever they stand.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && at > start {
            chunks.push(Chunk { line: start_line, text: &text[start..at] });
            (start, start_line) = (at, index + 1);
        }
        at += line.len();
    }
    chunks.push(Chunk { line: start_line, text: &text[start..] });
    chunks
}

/// Nothing but comments, directives and markers: no document.
fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with(['#', '%']) || line == "---" || line == "..." || line.starts_with("--- #")
}

/// Items of a sequence at the left margin: so many values at least, told before the YAML reader
/// builds them all. In no manifest do such lines stand inside a text.
fn top_level_items(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("- ")).count()
}

/// Where brackets or indentation nest beyond what any manifest has.
///
/// The YAML scanner's time grows with the square of the nesting, before any limit on values can act.
fn too_deep(text: &str) -> Option<(usize, usize)> {
    const DEPTH: usize = 500;
    let mut open = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let mut dashes = 0;
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                b'-' | b'?' | b':' | b' ' | b'\t' => {}
                _ => dashes = DEPTH + 1,
            }
            if dashes <= DEPTH && matches!(byte, b'-' | b'?' | b':') {
                dashes += 1;
                if dashes == DEPTH && line[column..].starts_with("- -") {
                    return Some((number, column + 1));
                }
            }
            if open > 4 * DEPTH {
                return Some((number, column + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
