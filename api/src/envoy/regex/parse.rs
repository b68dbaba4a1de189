//! Reads RE2's grammar and adds up the program, without building either.

use std::collections::BTreeSet;

use super::DEEPEST;
use super::class::Class;

/// RE2 repeats nothing more often, nested repetitions multiplied.
const MOST_REPEATS: usize = 1000;
/// What every program holds besides: a failure, the search for a beginning, the match.
const FRAME: usize = 5;

/// The program of a part of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Instructions once flattened, at most.
    size: usize,
    /// Whether it begins with a loop, into which one must then jump from outside: an instruction more.
    looped: bool,
    /// Whether it matches the empty text.
    nullable: bool,
    /// Whether there is a loop anywhere in it.
    loops: bool,
    /// Instructions that may come first, at most.
    first: usize,
    /// How often its most repeated piece is repeated.
    repeats: usize,
}

impl Part {
    const EMPTY: Part = Part { size: 0, looped: false, nullable: true, loops: false, first: 1, repeats: 1 };

    fn characters(size: usize, first: usize) -> Part {
        Part { size, looped: false, nullable: false, loops: false, first, repeats: 1 }
    }

    /// A place, such as the beginning of a line.
    fn place() -> Part {
        Part { size: 1, looped: false, nullable: true, loops: false, first: 1, repeats: 1 }
    }

    /// One after the other.
    fn then(self, next: Part) -> Part {
        if self == Part::EMPTY {
            return next;
        }
        Part {
            size: self.size.saturating_add(next.size),
            looped: self.looped,
            nullable: self.nullable && next.nullable,
            loops: self.loops || next.loops,
            first: if self.nullable { self.first.saturating_add(next.first) } else { self.first },
            repeats: self.repeats.max(next.repeats),
        }
    }

    /// One or the other.
    fn or(self, other: Part) -> Part {
        let entry = |part: Part| usize::from(part.looped || part.size == 0);
        // Where both begin alike, RE2 takes that out and may be left with loops that are entered.
        let alike = usize::from(self.loops && other.loops);
        Part {
            size: self.size.saturating_add(other.size).saturating_add(entry(self) + entry(other) + alike),
            looped: self.looped || other.looped,
            nullable: self.nullable || other.nullable,
            loops: self.loops || other.loops,
            first: self.first.saturating_add(other.first),
            repeats: self.repeats.max(other.repeats),
        }
    }

    fn optional(self) -> Part {
        let size = self.size.saturating_add(1 + usize::from(self.looped));
        Part { size, looped: false, nullable: true, first: self.first.saturating_add(1), ..self }
    }

    fn plus(self) -> Part {
        let size = self.size.saturating_add(2).saturating_add(self.again());
        Part { size, looped: true, loops: true, ..self }
    }

    fn star(self) -> Part {
        // What can be empty is compiled as `(x+)?`.
        let size = self.size.saturating_add(if self.nullable { 4 } else { 1 + usize::from(self.looped) });
        let size = size.saturating_add(self.again());
        Part { size, looped: true, loops: true, nullable: true, first: self.first.saturating_add(1), ..self }
    }

    /// What a loop around this adds: where both it and a loop inside lead
    /// to the first instructions, RE2 may write them twice.
    fn again(self) -> usize {
        if self.looped || self.nullable { self.first } else { 0 }
    }

    fn times(self, n: usize) -> Part {
        Part { size: self.size.saturating_mul(n), ..self }
    }

    /// Between `least` and `most` times; without `most` as often as there is.
    fn repeated(self, least: usize, most: Option<usize>) -> Result<Part, String> {
        let count = most.unwrap_or(least);
        let repeats = if count >= 2 { self.repeats.saturating_mul(count) } else { self.repeats };
        if repeats > MOST_REPEATS {
            return Err(format!(
                "a repetition of {repeats} times, nested ones multiplied; at most {MOST_REPEATS} are allowed"
            ));
        }
        let part = match (least, most) {
            (0, None) => self.star(),
            (least, None) => self.times(least - 1).then(self.plus()),
            // Even what is never tried is read.
            (_, Some(0)) => Part { repeats, ..Part::place() },
            (0, Some(most)) => Part { nullable: true, ..self.optional().times(most) },
            (least, Some(most)) => {
                self.times(least).then(if most > least { self.optional().times(most - least) } else { Part::EMPTY })
            }
        };
        // A loop at the beginning of a copy is entered from the copy before.
        let size = if part.looped || self.looped { part.size.saturating_add(count) } else { part.size };
        Ok(Part { size, repeats, ..part })
    }
}

/// What `(?imsU)` turns on and off.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    fold_case: bool,
    dot_newline: bool,
}

/// Reads one expression.
pub struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    depth: usize,
    names: BTreeSet<&'a str>,
}

/// One item of a class, or one escape: a character, or several.
enum Item {
    Character(char),
    Class(Class),
}

impl<'a> Parser<'a> {
    pub fn new(pattern: &'a str) -> Self {
        Parser { rest: pattern, flags: Flags::default(), depth: 0, names: BTreeSet::new() }
    }

    /// At most so many instructions are compiled.
    pub fn parse(mut self) -> Result<usize, String> {
        let part = self.alternatives()?;
        if !self.rest.is_empty() {
            return Err("a closing parenthesis that nothing opened".to_owned());
        }
        Ok(part.size.saturating_add(FRAME + usize::from(part.looped)))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest.strip_prefix(text);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    /// Up to the closing parenthesis or the end.
    fn alternatives(&mut self) -> Result<Part, String> {
        let mut all = self.sequence()?;
        while self.take("|") {
            all = all.or(self.sequence()?);
        }
        Ok(all)
    }

    fn sequence(&mut self) -> Result<Part, String> {
        let mut all = Part::EMPTY;
        while let Some(c) = self.peek() {
            if matches!(c, '|' | ')') {
                break;
            }
            if let Some(quoted) = self.rest.strip_prefix("\\Q") {
                let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                self.rest = rest;
                let characters: Vec<char> = text.chars().collect();
                let Some((last, before)) = characters.split_last() else { continue };
                for c in before {
                    all = all.then(self.literal(*c)?);
                }
                let last = self.literal(*last)?;
                all = all.then(self.repetition(last)?);
                continue;
            }
            if self.repetition_follows() {
                return Err("a repetition with nothing before it".to_owned());
            }
            // Flags alone, `(?i)`, are nothing that could be repeated.
            let Some(atom) = self.atom()? else { continue };
            all = all.then(self.repetition(atom)?);
        }
        Ok(all)
    }

    fn repetition_follows(&self) -> bool {
        self.peek().is_some_and(|c| matches!(c, '*' | '+' | '?')) || self.bounds().is_some()
    }

    fn repetition(&mut self, atom: Part) -> Result<Part, String> {
        let part = if self.take("*") {
            atom.star()
        } else if self.take("+") {
            atom.plus()
        } else if self.take("?") {
            atom.optional()
        } else if let Some((least, most, rest)) = self.bounds() {
            self.rest = rest;
            let (least, most) = (least?, most.transpose()?);
            if most.is_some_and(|most| most < least) {
                return Err("a repetition whose most is less than its least".to_owned());
            }
            atom.repeated(least, most)?
        } else {
            return Ok(atom);
        };
        self.take("?");
        if self.repetition_follows() {
            return Err("a repetition right behind another; put the inner one in a group, (?:…)".to_owned());
        }
        Ok(part)
    }

    /// `{n}`, `{n,}` or `{n,m}` and what follows; anything else in braces is literal.
    #[allow(clippy::type_complexity)]
    fn bounds(&self) -> Option<(Result<usize, String>, Option<Result<usize, String>>, &'a str)> {
        let inner = self.rest.strip_prefix('{')?;
        let (least, rest) = number(inner)?;
        let Some(rest) = rest.strip_prefix(',') else {
            return Some((least.clone(), Some(least), rest.strip_prefix('}')?));
        };
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((least, None, rest));
        }
        let (most, rest) = number(rest)?;
        Some((least, Some(most), rest.strip_prefix('}')?))
    }

    fn atom(&mut self) -> Result<Option<Part>, String> {
        let Some(c) = self.next() else { return Ok(None) };
        Ok(Some(match c {
            '(' => return self.group(),
            '[' => sized(self.class()?),
            '.' => sized(Class::dot(self.flags.dot_newline)),
            '^' | '$' => Part::place(),
            '\\' => match self.peek() {
                Some('b' | 'B' | 'A' | 'z') => {
                    self.next();
                    Part::place()
                }
                _ => match self.escape()? {
                    Item::Character(c) => self.literal(c)?,
                    Item::Class(class) => sized(self.folded(class)),
                },
            },
            c => self.literal(c)?,
        }))
    }

    fn group(&mut self) -> Result<Option<Part>, String> {
        let outer = self.flags;
        let mut captures = true;
        if self.take("?") {
            captures = false;
            if self.take("P<") || self.take("<") {
                if self.rest.starts_with(['=', '!']) {
                    return Err("lookbehind, which RE2 does not have".to_owned());
                }
                captures = true;
                let (name, rest) = self.rest.split_once('>').ok_or("a group's name that is not closed by '>'")?;
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Err(format!("a group's name {name:?}; write letters, digits and '_'"));
                }
                if !self.names.insert(name) {
                    return Err(format!("two groups with the name {name:?}"));
                }
                self.rest = rest;
            } else if self.rest.starts_with(['=', '!']) {
                return Err("lookahead, which RE2 does not have".to_owned());
            } else if self.flags()? {
                // `(?i)`: from here to the end of the group around it.
                return Ok(None);
            }
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("groups nested deeper than {DEEPEST}"));
        }
        let inner = self.alternatives()?;
        if !self.take(")") {
            return Err("a group that is not closed".to_owned());
        }
        self.depth -= 1;
        self.flags = outer;
        Ok(Some(match captures {
            // An instruction where it begins and one where it ends.
            true => Part { size: inner.size.saturating_add(2 + usize::from(inner.looped)), looped: false, ..inner },
            false if inner.size == 0 => Part { size: 1, ..inner },
            false => inner,
        }))
    }

    /// Reads flags up to `)`, then true, or `:`, then false.
    fn flags(&mut self) -> Result<bool, String> {
        let mut flags = self.flags;
        let (mut on, mut any) = (true, false);
        while let Some(c) = self.next() {
            match c {
                'i' => flags.fold_case = on,
                's' => flags.dot_newline = on,
                // `^` and `$`, and which match is preferred: nothing that costs.
                'm' | 'U' => {}
                '-' if on => {
                    (on, any) = (false, false);
                    continue;
                }
                ')' | ':' if any || on && c == ':' => {
                    self.flags = flags;
                    return Ok(c == ')');
                }
                _ => break,
            }
            any = true;
        }
        Err("a group that begins with (? and is none of (?:…), (?P<name>…), (?i), (?m), (?s) and (?U)".to_owned())
    }

    fn literal(&mut self, c: char) -> Result<Part, String> {
        if c.is_ascii() {
            return Ok(Part::characters(1, 1));
        }
        if self.flags.fold_case {
            return Err(format!("{c:?} without regard to case, which Envoy has for ASCII only"));
        }
        // A repetition would repeat its last byte.
        if self.repetition_follows() {
            return Err(format!("{c:?} repeated, of which Envoy repeats a part only; put it in a group, (?:{c})"));
        }
        Ok(Part::characters(c.len_utf8(), 1))
    }

    fn folded(&self, class: Class) -> Class {
        if self.flags.fold_case { class.folded() } else { class }
    }

    /// Behind a backslash, inside a class or outside.
    fn escape(&mut self) -> Result<Item, String> {
        let Some(c) = self.next() else { return Err("a backslash at the end".to_owned()) };
        Ok(match c {
            'd' | 's' | 'w' | 'D' | 'S' | 'W' => Item::Class(Class::perl(c)),
            'p' | 'P' => {
                return Err(format!(
                    "\\{c}: Envoy compares bytes and knows no classes of Unicode; write [a-zA-Z] or [^/]"
                ));
            }
            'a' => Item::Character('\x07'),
            'f' => Item::Character('\x0c'),
            'n' => Item::Character('\n'),
            'r' => Item::Character('\r'),
            't' => Item::Character('\t'),
            'v' => Item::Character('\x0b'),
            'x' => Item::Character(self.hexadecimal()?),
            '0' => {
                let digits: String = self.rest.chars().take(2).take_while(|c| ('0'..='7').contains(c)).collect();
                self.rest = &self.rest[digits.len()..];
                Item::Character(u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32).unwrap_or('\0'))
            }
            '1'..='9' => return Err(format!("\\{c}: RE2 has no references back to groups")),
            c if c.is_ascii_punctuation() => Item::Character(c),
            c => return Err(format!("\\{c} means nothing in RE2")),
        })
    }

    /// `x41` or `x{41}`.
    fn hexadecimal(&mut self) -> Result<char, String> {
        let digits = if let Some(inner) = self.rest.strip_prefix('{') {
            let (digits, rest) = inner.split_once('}').ok_or("\\x{ that is not closed")?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or("\\x without two hexadecimal digits")?;
            self.rest = rest;
            digits
        };
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("\\x without hexadecimal digits".to_owned());
        }
        let code = u32::from_str_radix(digits, 16).ok().filter(|code| *code < 0x80).and_then(char::from_u32);
        code.ok_or_else(|| format!("\\x{{{digits}}}: not ASCII; write the character itself"))
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<Class, String> {
        let negate = self.take("^");
        let mut all = Class::default();
        let mut first = true;
        loop {
            let Some(c) = self.peek() else { return Err("a class that is not closed by ']'".to_owned()) };
            if c == ']' && !first {
                self.next();
                break;
            }
            first = false;
            if let Some(inner) = self.rest.strip_prefix("[:")
                && let Some((name, rest)) = inner.split_once(":]")
            {
                let (name, inverse) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
                let class = Class::posix(name).ok_or_else(|| format!("[:{name}:] is no class"))?;
                self.rest = rest;
                all = all.with(if inverse { self.folded(class).negated() } else { self.folded(class) });
                continue;
            }
            match self.item()? {
                Item::Class(class) => all = all.with(class),
                Item::Character(low) => {
                    let range =
                        self.rest.strip_prefix('-').is_some_and(|rest| !rest.starts_with(']') && !rest.is_empty());
                    let high = if range {
                        self.next();
                        match self.item()? {
                            Item::Character(high) => high,
                            Item::Class(_) => return Err("a range that ends in a class".to_owned()),
                        }
                    } else {
                        low
                    };
                    if high < low {
                        return Err(format!("a range from {low:?} down to {high:?}"));
                    }
                    all = all.with(self.folded(Class::range(low, high)));
                }
            }
        }
        Ok(if negate { all.negated() } else { all })
    }

    fn item(&mut self) -> Result<Item, String> {
        match self.next() {
            Some('\\') => self.escape(),
            Some(c) if !c.is_ascii() => {
                Err(format!("{c:?} in a class: Envoy compares bytes and would take it for several; write (?:{c}|…)"))
            }
            Some(c) => Ok(Item::Character(c)),
            None => Err("a class that is not closed by ']'".to_owned()),
        }
    }
}

fn sized(class: Class) -> Part {
    let ranges = class.instructions();
    Part::characters(ranges, ranges)
}

/// A number at the beginning of `text`, as RE2 reads it, and what follows.
fn number(text: &str) -> Option<(Result<usize, String>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let value = digits.parse().ok().filter(|n| *n <= MOST_REPEATS);
    Some((value.ok_or_else(|| format!("a repetition of {digits} times; at most {MOST_REPEATS} are allowed")), rest))
}
