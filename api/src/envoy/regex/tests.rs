//! What RE2 takes and refuses, and that the size is never counted too small.

use super::*;

#[test]
fn what_only_other_dialects_have_is_refused() {
    for wrong in [
        "(?x)a",
        "(?R)a",
        "(?u)a",
        r"\u{61}",
        r"\u0061",
        r"a{1001}",
        "",
        "(?=a)",
        "(?!a)",
        "(?<=a)b",
        "(?<!a)b",
        r"(a)\1",
        r"\p{greek}",
        r"\p{Letter}",
        r"\p{Script=Greek}",
        r"\pX",
        r"\h",
        r"\Z",
        r"\G",
        r"\K",
        r"\R",
        r"\X",
        "a**",
        "a*+",
        "a{2}{3}",
        "a{2}*",
        "*a",
        "a|*",
        "(*a)",
        "(?i)*",
        "(a",
        "a)",
        "[a",
        "[]",
        "[z-a]",
        r"[a-\d]",
        r"[\b]",
        "[[:nope:]]",
        "(?P<n>a)(?P<n>b)",
        "(?P<>a)",
        "(?P=n)",
        "(?#note)",
        "(?>a)",
        "(?|a)",
        r"\",
        r"\x",
        r"\x{110000}",
        r"\x{80}",
        r"\xff",
        r"\x{}",
        r"\x{000000041}",
        r"\x{41",
        r"\x{4g}",
        r"\x{D800}",
        r"\xg1",
        r"\x+4",
        r"\x{+41}",
        r"\x{ 41}",
        r"\e",
        r"\c",
        r"\z*+",
        "(a{10}){101}",
        "a{3,2}",
        "(?",
        "(?)",
        "(?-)a",
        "(?i",
        "(?--i)a",
        r"\pL{2}",
        "{2}",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_re2_takes_is_taken() {
    for right in [
        "a",
        "/users/[0-9]+",
        "^/v[12]/.*$",
        "(?i)x",
        "(?i:x)y",
        "(?P<n>a)",
        "(?P<n_1>a)",
        "(?<n>a)",
        "(?:a|b)*",
        r"\d{3}-\d{4}",
        r"\w+@\w+",
        "a{,5}",
        "{",
        "a{",
        "{a}",
        "x{2",
        "x{01}",
        r"\Qa.b\E",
        r"\Qa.b",
        r"[[:alpha:]_-]",
        "[^/]+",
        "[]a]",
        "[a-]",
        "[-a]",
        r"[\d-z]",
        r"\.",
        r"\-",
        r"\_",
        r"\x41",
        r"\x{41}",
        r"\a\f\n\r\t\v",
        r"[\a\f\n\r\t\v]",
        r"\0\07\0778",
        r"\x{0000007f}",
        r"\A.*\z",
        r"\bfoo\b",
        "a|b|",
        "()",
        "(?:)",
        "|",
        "(|a)*",
        "ü.*",
        "(?U)a*",
        "(?m)^a$",
        "(?s).*",
        "(?i-s)a",
        r"(?-i:a)",
        "^*",
        "\n",
        r"^https://[a-zA-Z0-9]*\.example\.com$",
        r"(?i)^bearer\s+.+$",
        "[a&&b]",
        "[a[b]",
        "a~~b",
        "[--/]",
        r"\0",
        r"\07",
    ] {
        assert!(check(right).is_ok(), "{right}: {:?}", check(right));
    }
}

/// Envoy compares bytes, so these would not mean what they say.
#[test]
fn characters_beyond_ascii_stand_alone() {
    for wrong in [
        "[é]",
        "[a-é]",
        "é+",
        "é?",
        "é{2}",
        "(?i)é",
        "(?i:a)(?i)ü",
        r"\p{Greek}",
        r"\p{^Greek}",
        r"\pL",
        r"\PN",
        r"[\pL]",
        r"\xff",
        r"\x{100}",
        r"[^\x{80}]",
        "(?P<é>a)",
        r"\Qé\E+",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    for right in ["é", "/caf(?:é)+", "日本|中国", "[^/]*é", r"\Qé+\E", "(?i:a)é", "(?i)a(?-i)é"] {
        assert!(check(right).is_ok(), "{right}: {:?}", check(right));
    }
}

/// Counted by RE2 itself.
#[test]
fn the_size_is_an_upper_bound_and_a_close_one() {
    for (pattern, size) in [
        ("a", 5),
        ("abc", 7),
        (".", 6),
        ("[^a]", 6),
        (".*", 6),
        ("(?i)k", 5),
        ("(?i)hello", 9),
        ("\\w+", 8),
        ("[^/]+", 7),
        ("(?:a|bc|de)*x", 10),
        ("(a?){10}", 44),
        ("(ab|cd)", 10),
        ("\\d{3}-\\d{4}", 12),
        ("é", 6),
        ("(?s).", 5),
        ("a*?b", 6),
        ("x{2,}", 7),
        ("(x{2,5}){3}", 34),
        ("\\bfoo\\b", 9),
        ("a|b|cd|ef|gh", 11),
        ("/zz(a|b|c){1,100}", 406),
        ("https://[a-zA-Z0-9]*\\.example\\.com", 26),
        ("[^/]{1,64}", 195),
        ("[\\w.-]+@[\\w.-]+", 15),
        ("(?i)[k-z]", 5),
        ("x.{0,100}y", 306),
    ] {
        let counted = check(pattern).unwrap_or_default();
        assert!(counted >= size && counted <= size + size / 2 + 4, "{pattern}: {counted} instead of {size}");
    }
    for too_large in ["/zz(a|b|c){1,400}", "a{1000}", ".{900}", "[^a]{900}", "(?:é){499}", "((a{1,10}){1,10}){1,10}"] {
        assert!(check(too_large).is_err_and(|why| why.contains("too large")), "{too_large}");
    }
}

/// Too small a count lets an expression through that Envoy refuses, too large a one refuses what it takes.
#[test]
fn what_is_the_same_program_has_the_same_size() {
    for (one, other) in [
        ("[a]", "a"),
        (r"[^\x7f]", "[^a]"),
        (r"\07", "a"),
        (r"\0778", "a8"),
        // What cannot be empty is repeated like any other.
        ("(?:a?b)*", "(?:[ac]b)*"),
    ] {
        assert_eq!(check(one), check(other), "{one} and {other}");
    }
    for (pattern, size) in [
        // A loop is entered, whichever of the two it is.
        ("a*|b", 10),
        ("b|a*", 10),
        // Of what follows one another, only the first may come first.
        ("(?:a?)*", 14),
        ("(?:(?:ab)?)*", 15),
        ("(?:(?:a?){2})*", 17),
        // A choice may be empty if either may, and only then.
        ("(?:a|b?)*", 16),
        ("(?:a?|b)*", 16),
        ("(?:a|b)*", 9),
        ("(?:^|a)*", 14),
        ("(?:$)*b", 13),
        ("(?:^a|b)+", 11),
    ] {
        assert_eq!(check(pattern), Ok(size), "{pattern}");
    }
}

#[test]
fn what_is_too_long_is_not_read_however_small_its_program() {
    let class = |bytes: usize| format!("[{}]", "ab".repeat((bytes - 2) / 2));
    assert!(check(&class(MOST_BYTES)).is_ok());
    assert!(check(&class(MOST_BYTES + 2)).is_err_and(|why| why.contains("4098 bytes")));
}

#[test]
fn reading_what_is_hostile_is_cheap() {
    let start = std::time::Instant::now();
    for hostile in [
        "(".repeat(4096),
        "a{1000}".repeat(585),
        r"\d{250}".repeat(585),
        format!("[{}]", r"\D".repeat(2047)),
        format!("(?i){}", r"\D".repeat(2046)),
        "(?:".repeat(1000) + &")*".repeat(548),
        "a|".repeat(2048),
        r"\Q".repeat(2048),
        "[:alpha:".repeat(512),
        "[[:".repeat(1365),
        "(?P<a>".repeat(600),
        "{".repeat(4096),
    ] {
        for _ in 0..10 {
            drop(check(&hostile));
        }
    }
    assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
}

/// Expressions of two operations around every sort of atom, each with what is counted: `UPDATE_GOLDEN=1` writes the page anew.
/// A count that becomes smaller has to be shown to be no smaller than RE2's.
#[test]
fn what_is_counted_stays_what_it_is() {
    use std::fmt::Write as _;
    const ATOMS: [&str; 12] =
        ["a", "é", "^", "(?:)", ".", "[^a]", r"[\Wa]", r"[a\W]", "[[:^alpha:]b]", "(?i)k", "(?:a|b*)", "a*b?"];
    const OPERATIONS: [&str; 12] = ["*", "+", "?", "{2}", "{3,}", "{0,}", "{1,}", "{0,2}", "{1,3}", "{0}", "|x*", "x"];
    let applied = |atom: &str, operation: &str| match operation {
        "|x*" | "x" => format!("{atom}{operation}"),
        _ => format!("(?:{atom}){operation}"),
    };
    let mut page = String::new();
    for atom in ATOMS {
        for first in OPERATIONS {
            let once = applied(atom, first);
            let counts = OPERATIONS.iter().map(|second| match check(&applied(&once, second)) {
                Ok(count) => count.to_string(),
                Err(_) => "-".to_owned(),
            });
            let (alone, counts) = (check(&once), counts.collect::<Vec<_>>().join(" "));
            writeln!(page, "{once} {} then {counts}", alone.unwrap_or_default()).unwrap_or_default();
        }
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/regex-sizes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &page).unwrap_or_default();
    }
    let before = std::fs::read_to_string(golden).unwrap_or_default();
    for (now, before) in page.lines().zip(before.lines()) {
        assert_eq!(now, before);
    }
    assert_eq!(page.len(), before.len());
}

#[test]
fn groups_may_be_so_deep_and_no_deeper() {
    let nested = |depth: usize| check(&format!("{}a{}", "(".repeat(depth), ")".repeat(depth)));
    assert!(nested(DEEPEST).is_ok() && nested(DEEPEST + 1).is_err());
    // One behind the other they are not deep.
    assert!(check(&"(a)".repeat(DEEPEST + 1)).is_ok());
}
