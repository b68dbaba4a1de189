//! An expression looks at what is sent, an application at what that means: of an escape an expression sees three characters,
//! or none that it knows.

use std::collections::BTreeSet;

use ir::path::escape;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// An expression for escapes of which decoders make different things: what is none, control characters, the beginning of a
/// character in more bytes than it has, and what is escaped twice.
pub const NO_CHARACTER: &str =
    "%[0-9a-fA-F]?(?:[^0-9a-fA-F]|$)|%(?:[01][0-9a-fA-F]|7[fF])|%(?:[cC][01]|[eE]0%[89]|[fF]0%8)|%25[0-9a-fA-F]{2}";

/// Every escape.
const ANY: &str = "%[0-9a-fA-F]{2}";

/// How characters are written in a part of a request.
#[derive(Debug, Clone, Copy)]
pub struct Spelling {
    /// Those that come as they are or escaped.
    pub either: &'static str,
    /// Those that come escaped alone.
    pub escaped: &'static str,
    /// What else stands for a blank than its escape.
    pub blank: Option<char>,
}

/// An expression for what one of `regexes` takes in one spelling and not in another that means the same; none if there is
/// nothing of the kind.
pub fn missed<'r>(regexes: impl Iterator<Item = &'r str>, spelling: Spelling) -> Option<String> {
    let mut missed = Missed { spelling, found: BTreeSet::new() };
    // As Envoy reads them: classes such as `\w` are of ASCII, which is all that comes unescaped.
    let mut reader = ParserBuilder::new();
    reader.unicode(false).utf8(false);
    for regex in regexes {
        match reader.build().parse(regex) {
            Ok(parsed) => missed.look(&parsed, 0),
            // Envoy reads expressions that this reader does not.
            Err(_) => missed.anything(),
        }
    }
    let found = missed.found;
    (!found.is_empty()).then(|| found.into_iter().collect::<Vec<_>>().join("|"))
}

/// A set of ASCII characters.
type Ascii = u128;

/// The set of one character; the empty one for a byte that is none.
fn one(byte: u8) -> Ascii {
    if byte.is_ascii() { 1 << byte } else { 0 }
}

fn all(text: &str) -> Ascii {
    text.bytes().fold(0, |set, byte| set | one(byte))
}

/// Of which characters an expression takes one.
#[derive(Debug, Clone, Copy)]
struct Members {
    ascii: Ascii,
    /// Whether others are among them, as with `.` and `[^/]`: who writes that means whatever there is.
    others: bool,
}

/// What is to be seen of an expression at one place.
enum Atom<'h> {
    /// This byte.
    Byte(u8),
    /// One of these characters.
    Class(Members),
    /// Whatever else.
    Other(&'h Hir),
}

struct Missed {
    spelling: Spelling,
    /// Expressions for what is missed.
    found: BTreeSet<String>,
}

impl Missed {
    fn anything(&mut self) {
        self.any_escape();
        self.any_raw();
    }

    /// Every escape is doubtful: perhaps what it stands for is taken, and it is not, or the other way round.
    fn any_escape(&mut self) {
        self.found.insert(ANY.to_owned());
        self.found.extend(self.spelling.blank.map(literal));
    }

    /// So is every character that need not be escaped.
    fn any_raw(&mut self) {
        let members: String = self.spelling.either.chars().map(literal).collect();
        self.found.insert(format!("[{members}]"));
    }

    /// `behind`: what may come behind all of it.
    fn look(&mut self, hir: &Hir, behind: Ascii) {
        let mut atoms = Vec::new();
        flatten(hir, &mut atoms);
        let mut at = 0;
        while let Some(atom) = atoms.get(at) {
            at += 1;
            match *atom {
                Atom::Byte(b'%') => at += self.escape(&atoms[at..]),
                Atom::Byte(byte) => self.byte(byte),
                Atom::Class(members) => self.class(members),
                Atom::Other(hir) => self.other(hir, &atoms[at..], behind),
            }
        }
    }

    fn other(&mut self, hir: &Hir, rest: &[Atom<'_>], behind: Ascii) {
        let next = first(rest, behind);
        match hir.kind() {
            HirKind::Repetition(repetition) => match members(&repetition.sub) {
                Some(members) if self.is_wide(repetition, members.ascii) => {
                    self.wide(repetition, members.ascii, rest, next);
                }
                Some(members) => self.class(members),
                None => {
                    let mut inner = Vec::new();
                    flatten(&repetition.sub, &mut inner);
                    self.look(&repetition.sub, first(&inner, next) | next);
                }
            },
            HirKind::Alternation(choices) => choices.iter().for_each(|choice| self.look(choice, next)),
            // Literals, classes, groups and sequences are taken apart before.
            _ => {}
        }
    }

    /// An escape, of which `rest` holds the digits; how many of its atoms belong to it.
    fn escape(&mut self, rest: &[Atom<'_>]) -> usize {
        let digits: Vec<(u8, Ascii)> = rest.iter().take(2).filter_map(digit).collect();
        let [(high, first), (low, second)] = digits[..] else {
            // It may be any.
            self.anything();
            return 0;
        };
        let byte = high << 4 | low;
        match (char::from(byte), self.spelling.blank) {
            (' ', Some(blank)) => drop(self.found.insert(literal(blank))),
            (plain, blank) if self.spelling.either.contains(plain) && blank != Some(plain) => {
                self.found.insert(literal(plain));
            }
            _ => {}
        }
        // Digits in the case that it does not take.
        for high in cases(high) {
            for low in cases(low) {
                if first & one(high) == 0 || second & one(low) == 0 {
                    self.found.insert(format!("%{}{}", char::from(high), char::from(low)));
                }
            }
        }
        2
    }

    /// A character that stands for itself.
    fn byte(&mut self, byte: u8) {
        let two = self.spelling.either.contains(char::from(byte)) || self.spelling.escaped.contains(char::from(byte));
        // What is not ASCII comes escaped alone.
        if two || !byte.is_ascii() {
            self.found.insert(escape(byte));
        }
        match (char::from(byte), self.spelling.blank) {
            (' ', Some(blank)) => drop(self.found.insert(literal(blank))),
            (plain, Some(blank)) if plain == blank => drop(self.found.insert(escape(b' '))),
            _ => {}
        }
    }

    /// One character of several: each that may be escaped is missed if it is.
    fn class(&mut self, Members { ascii, others }: Members) {
        let either = all(self.spelling.either);
        let percent = ascii & one(b'%') != 0;
        if ascii == one(b'%') {
            self.anything();
        } else if percent || others && ascii & (either | all(self.spelling.escaped)) != 0 {
            // It takes a part of any escape, or what any may stand for.
            self.any_escape();
            // Who writes of escapes alone means what they stand for.
            if percent && ascii & either == 0 {
                self.any_raw();
            }
        } else {
            (0..128).filter(|byte| ascii & one(*byte) != 0).for_each(|byte| self.byte(byte));
        }
    }

    /// Whether characters of `set`, as many as `repetition` says, are all of an escape as well as what it stands for.
    fn is_wide(&self, repetition: &Repetition, set: Ascii) -> bool {
        let escape = all("%") | all(DIGITS);
        unbounded(repetition) && set & escape == escape && set & all(self.spelling.either) != 0
    }

    /// Any number of characters of `set`, in front of `rest`, which begins with one of `next`.
    fn wide(&mut self, repetition: &Repetition, set: Ascii, rest: &[Atom<'_>], next: Ascii) {
        // It takes escapes also of what it does not take.
        let not_taken = (0..128).filter(|byte| all(self.spelling.either) & !set & one(*byte) != 0);
        self.found.extend(not_taken.map(escape));
        // Two that want one character at least want two, or one that is escaped.
        if let Some(Atom::Other(other)) = rest.first()
            && let HirKind::Repetition(second) = other.kind()
            && members(&second.sub).is_some_and(|members| self.is_wide(second, members.ascii))
        {
            if repetition.min > 0 && second.min > 0 {
                self.any_escape();
            }
            return;
        }
        let digits = next & all(DIGITS);
        if digits == 0 {
            return;
        }
        // What is behind it may take the digits of an escape of which it takes the rest.
        let text: String = rest
            .iter()
            .map_while(|atom| match *atom {
                Atom::Byte(byte) if byte.is_ascii() => Some(literal(char::from(byte))),
                _ => None,
            })
            .collect();
        if text.is_empty() {
            let digits: String = DIGITS.chars().filter(|digit| digits & one(*digit as u8) != 0).collect();
            self.found.insert(format!("%[{DIGITS}][{digits}]"));
            self.found.insert(format!("%[{digits}][{DIGITS}]"));
        } else {
            self.found.insert(format!("%[{DIGITS}]?{text}"));
        }
    }
}

/// The digits of escapes.
const DIGITS: &str = "0123456789abcdefABCDEF";

fn unbounded(repetition: &Repetition) -> bool {
    repetition.max.is_none() && repetition.min <= 1
}

/// The characters with which a text may begin that `atoms` take; with `behind` where they may take nothing.
fn first(atoms: &[Atom<'_>], behind: Ascii) -> Ascii {
    fn of(hir: &Hir) -> (Ascii, bool) {
        match hir.kind() {
            HirKind::Repetition(repetition) => {
                let (set, nothing) = of(&repetition.sub);
                (set, nothing || repetition.min == 0)
            }
            HirKind::Alternation(choices) => {
                choices.iter().map(of).fold((0, false), |(all, any), (set, nothing)| (all | set, any || nothing))
            }
            _ => {
                let mut atoms = Vec::new();
                flatten(hir, &mut atoms);
                sequence(&atoms)
            }
        }
    }
    fn sequence(atoms: &[Atom<'_>]) -> (Ascii, bool) {
        let mut all = 0;
        for atom in atoms {
            let (set, nothing) = match *atom {
                Atom::Byte(byte) => (one(byte), false),
                Atom::Class(members) => (members.ascii, false),
                Atom::Other(hir) => of(hir),
            };
            all |= set;
            if !nothing {
                return (all, false);
            }
        }
        (all, true)
    }
    let (set, nothing) = sequence(atoms);
    if nothing { set | behind } else { set }
}

/// `hir` as a sequence, as far as it is one.
fn flatten<'h>(hir: &'h Hir, out: &mut Vec<Atom<'h>>) {
    match hir.kind() {
        HirKind::Literal(literal) => out.extend(literal.0.iter().map(|byte| Atom::Byte(*byte))),
        HirKind::Class(_) => out.extend(members(hir).map(Atom::Class)),
        HirKind::Capture(capture) => flatten(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| flatten(part, out)),
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Repetition(_) | HirKind::Alternation(_) => out.push(Atom::Other(hir)),
    }
}

/// Of which characters `hir` takes one; none if it takes no single character.
fn members(hir: &Hir) -> Option<Members> {
    let of = |ranges: &mut dyn Iterator<Item = (u32, u32)>| {
        ranges.fold(Members { ascii: 0, others: false }, |members, (start, end)| {
            let within = (0..128).filter(|byte| (start..=end).contains(&u32::from(*byte)));
            Members {
                ascii: within.fold(members.ascii, |set, byte| set | one(byte)),
                others: members.others || end >= 128,
            }
        })
    };
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            Some(of(&mut class.ranges().iter().map(|range| (range.start().into(), range.end().into()))))
        }
        HirKind::Class(Class::Bytes(class)) => {
            Some(of(&mut class.ranges().iter().map(|range| (range.start().into(), range.end().into()))))
        }
        HirKind::Literal(literal) => match *literal.0 {
            [byte] if byte.is_ascii() => Some(Members { ascii: one(byte), others: false }),
            _ => None,
        },
        HirKind::Capture(capture) => members(&capture.sub),
        _ => None,
    }
}

/// The digit of an escape that an atom takes, in one case or in both, with what it takes.
fn digit(atom: &Atom<'_>) -> Option<(u8, Ascii)> {
    let set = match *atom {
        Atom::Byte(byte) => one(byte),
        Atom::Class(Members { others: true, .. }) | Atom::Other(_) => return None,
        Atom::Class(members) => members.ascii,
    };
    let first = char::from(u8::try_from(set.trailing_zeros()).ok()?);
    let digit = u8::try_from(first.to_digit(16)?).ok()?;
    let both = cases(digit).into_iter().fold(0, |set, case| set | one(case));
    (set & !both == 0).then_some((digit, set))
}

/// A digit of an escape in small letters and in capitals.
fn cases(digit: u8) -> BTreeSet<u8> {
    let small = char::from_digit(u32::from(digit), 16).unwrap_or('0');
    BTreeSet::from([small as u8, small.to_ascii_uppercase() as u8])
}

/// An expression for `c` itself, inside of a class or not.
fn literal(c: char) -> String {
    regex_syntax::escape(&c.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{paths, queries};
    use super::*;

    fn of(regex: &str) -> Option<String> {
        missed([regex].into_iter(), paths::SPELLING)
    }

    #[test]
    fn what_is_taken_character_by_character_has_one_spelling() {
        for plain in [
            "/a",
            "/a.*",
            "/a(.+)",
            "/[a-z0-9_]x",
            r"/\d+/\w",
            "/a[^/]*",
            r"/a\.b",
            "/[^/]+/admin",
            "/x*",
            "/(.)*",
            r"/[\w]x",
            "(?i)/Admin",
            "/a|/b",
            "^/a$",
            r"/\S+",
            r"/[\w.-]+",
        ] {
            assert_eq!(of(plain), None, "{plain}");
        }
        for (regex, missed) in [
            ("/u@.*", "%40"),
            (r"/a\+b", "%2[bB]"),
            (r"/\(x,y\)", "%28|%29|%2[cC]"),
            ("/[^@]+", "%40"),
            ("/[(]+", "%28"),
            ("/[@]*", "%40"),
            ("/[@a]", "%40"),
            ("/[@:]+", "%3[aA]|%40"),
            (r"/[\w@.+-]+/x", "%2[bB]|%40"),
            ("/[]x]", "%5[dD]"),
            (r"/[\]a]*", "%5[dD]"),
            ("/é", "%[aA]9|%[cC]3"),
            // What is written escaped comes as it is, or in the other case.
            ("/u/%40a.*", "@"),
            ("/%5Ba", r"%5b|\["),
            ("/%5ba", r"%5B|\["),
            ("(?i)/%5ba", r"\["),
            ("/%[5]B", r"%5b|\["),
            ("/caf%C3%A9", "%a9|%c3"),
            ("/%7c", "%7C"),
            ("/(%40|@)", "%40|@"),
            // Envoy escapes these, so that an expression sees no other spelling.
            (r"/\{a\|", "%7[bB]|%7[cC]"),
            (r"/\^", "%5[eE]"),
        ] {
            assert_eq!(of(regex).as_deref(), Some(missed), "{regex}");
        }
        for one in [
            "/a.b", "/a.?", "/a.{2}", "/a.{2,}", "/[^a]x", "/[!-~]", r"/\Wx", r"/\S", "/a.", r"/\D+", r"/\W+",
            "/[^%]+", "/[^0-9]*", "/(?:a.)*",
        ] {
            assert_eq!(of(one).as_deref(), Some(ANY), "{one}");
        }
        for unread in ["/a[", r"/\Qa.b\E", "/[é]", r"/\pL", "/%.*", "/%[0-9a-f]{2}", "/%", "/%4", "/[%0-9a-fA-F]+"] {
            let missed = of(unread).unwrap_or_default();
            assert!(missed.contains(ANY) && missed.contains("@"), "{unread}: {missed}");
        }
    }

    /// All ways to write a path or a value: each character as it is, or escaped in any case, as far as that may come.
    fn spellings(text: &str, spelling: Spelling) -> Vec<String> {
        let mut all = vec![String::new()];
        for c in text.chars() {
            let [small, capital] = [format!("%{:02x}", c as u32), format!("%{:02X}", c as u32)];
            let mut ways = match c {
                c if spelling.either.contains(c) => vec![c.to_string(), small, capital],
                c if spelling.escaped.contains(c) => vec![small, capital],
                c => vec![c.to_string()],
            };
            if c == ' ' {
                ways.extend(spelling.blank.map(String::from));
            }
            // A plus that is a blank is no plus.
            if spelling.blank == Some(c) {
                ways.remove(0);
            }
            all = all.iter().flat_map(|before| ways.iter().map(move |way| format!("{before}{way}"))).collect();
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Of all ways to write what means the same, an expression takes those that are not refused all or none.
        #[test]
        fn what_is_not_refused_is_taken_in_all_spellings_or_in_none(
            parts in proptest::collection::vec(
                (
                    prop_oneof![
                        4 => proptest::sample::select(vec![
                            "a", "b", "4", "0", "@", r"\[", r"\]", r"\{", ":", r"\+", " ", "%40", "%5B", "%5b", "%7B", "%20", "%2B", "%",
                        ]).prop_map(str::to_owned),
                        2 => proptest::sample::select(vec![".", r"\w", r"\W", r"\d", r"\D", r"\S", "[^/]", "[^@]", "[@:]", r"[\]a]", "[(]", "[%a]", "[^%]", "[!-~]", "[a-f0-9%]", "(a|@)", "(@b|%40c)", "(?i:%5b)", "(?:.*b)", "(?:a|.*4)", "(?:.+@)", "(?:[^@]*|b)", "(?:\\d*.)"]).prop_map(str::to_owned),
                    ],
                    proptest::sample::select(vec!["", "", "", "*", "+", "?", "{2}", "{2,}", "{1,3}"]),
                ),
                1..4,
            ),
            text in r"[ab40@\[\]{:+ (]{0,4}",
            query in any::<bool>(),
        ) {
            let spelling = if query { queries::SPELLING } else { paths::SPELLING };
            let regex: String = parts.iter().map(|(atom, times)| if atom.len() > 2 && atom.starts_with('%') && !times.is_empty() { format!("(?:{atom}){times}") } else { format!("{atom}{times}") }).collect();
            let Ok(takes) = regex::bytes::Regex::new(&format!(r"(?-u)\A(?:{regex})\z")) else { return Ok(()) };
            let refused = missed([regex.as_str()].into_iter(), spelling);
            let refused = refused.map(|missed| regex::Regex::new(&missed).expect("an expression"));
            let mut taken: Option<(bool, String)> = None;
            for way in spellings(&text, spelling) {
                if refused.as_ref().is_some_and(|refused| refused.is_match(&way)) {
                    continue;
                }
                let takes = takes.is_match(way.as_bytes());
                match &taken {
                    Some((before, first)) => prop_assert_eq!(*before, takes, "{} of {:?} and {:?}, but for {:?}", regex, first, way, refused),
                    None => taken = Some((takes, way)),
                }
            }
        }
    }
}
