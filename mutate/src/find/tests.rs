//! Each operator on a small source.

use std::collections::BTreeSet;

use super::find;

/// The changes that are found in a function of this body.
fn changes(function: &str) -> Vec<String> {
    let found = find("a.rs", function, 0).unwrap();
    found.mutants.into_iter().map(|mutant| mutant.change).collect()
}

/// The source with its switches, spelt shorter.
fn switched(source: &str) -> String {
    let found = find("a.rs", source, 0).unwrap();
    let text = found.edits.apply(source, &BTreeSet::from([0])).text;
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    text.replace("crate::mutant_switch::", "").replace("::core::iter::", "")
}

#[test]
fn a_condition_is_forced_and_its_parts_are_dropped() {
    assert_eq!(
        changes("fn f() -> X { if a && !(b || c) { g() } else { h() } }"),
        [
            "\"a && !(b || c)\" is true",
            "\"a && !(b || c)\" is false",
            "\"a\" is true",
            "\"!(b || c)\" is true",
            "\"b\" is false",
            "\"c\" is false"
        ]
    );
    assert_eq!(
        switched("fn f() -> X { if a { g() } else { h() } }"),
        "fn f() -> X { if (on(0) || !on(1) && (a)) { g() } else { h() } }"
    );
}

#[test]
fn a_condition_with_let_may_never_hold() {
    assert_eq!(
        switched("fn f() -> X { if let Some(x) = y && a { g(x) } else { h() } }"),
        "fn f() -> X { if let Some(x) = y && (on(1) || (a)) && !on(0) { g(x) } else { h() } }"
    );
}

#[test]
fn a_comparison_has_its_bound_moved() {
    assert_eq!(
        switched("fn f() -> X { h(a.b < 3u8) }"),
        "fn f() -> X { h((on(0) || !on(1) && ((match (&(a.b ), &( (if on(3) { 4u8 } else { 3u8 }))) { (l, r) => if on(2) { l <= r } else { l < r } })))) }"
    );
}

#[test]
fn arithmetic_goes_the_other_way() {
    assert_eq!(
        switched("fn f() -> X { a + b(c) }"),
        "fn f() -> X { (match ((a ), ( b(c))) { (l, r) => if on(0) { l - r } else { l + r } }) }"
    );
}

#[test]
fn statements_are_left_out_and_only_statements_of_ifs_are_not() {
    assert_eq!(
        changes(
            "fn f() -> X { a.push(b); check(c)?; if d { e.clear(); } x += y; meter.increment(z); self.meters.seen(); self.complaints.warn(i); runtime::trace::note(h); g }"
        ),
        [
            "\"a.push(b)\" is left out",
            "\"check(c)?\" is left out",
            "\"d\" is true",
            "\"d\" is false",
            "\"x += y\" is left out"
        ]
    );
    assert_eq!(switched("fn f() -> X { a.push(b); g }"), "fn f() -> X { if !on(0) { a.push(b); } g }");
}

#[test]
fn a_function_answers_at_once() {
    assert_eq!(
        switched("fn f() -> bool { g() }"),
        "fn f() -> bool { if on(0) { return true; } if on(1) { return false; } g() }"
    );
    assert_eq!(changes("fn f() -> Option<u8> { g() }"), ["returns None at once"]);
    assert_eq!(changes("fn f() -> Result<(), X> { g() }"), ["returns Ok(()) at once"]);
    assert_eq!(changes("const fn f() -> bool { g() }"), [""; 0]);
}

#[test]
fn guards_are_forced_and_arms_before_a_catch_all_skipped() {
    assert_eq!(
        switched("fn f() -> X { match a { A(x) if x => b, B => c, (_, y) => y, } }"),
        "fn f() -> X { match a { A(x) if (on(0) || !on(1) && (x)) => b, B if !on(2) => c, (_, y) => y, } }"
    );
    assert_eq!(changes("fn f() -> X { match a { A => b, B => c } }"), [""; 0]);
}

#[test]
fn of_several_only_the_first_is_looked_at() {
    assert_eq!(
        switched("fn f() -> X { for a in b { c(a); d(a); } e.iter().collect() }"),
        "fn f() -> X { for a in only_first(0, b) { if !on(1) { c(a); } if !on(2) { d(a); } } e.iter().mutant_first(3).collect() }"
    );
}

#[test]
fn any_and_all_are_exchanged_and_what_they_ask_is_forced() {
    assert_eq!(
        changes("fn f() -> X { g(a.iter().any(|b| b == c)) }"),
        [
            "\"a.iter().any(|b| b == c)\" is true",
            "\"a.iter().any(|b| b == c)\" is false",
            "\"a.iter().any(|b| b == c)\" with all",
            "\"a.iter().any(|b| b == c)\" of the first only",
            "\"b == c\" is true"
        ]
    );
    assert_eq!(
        switched("fn f() -> X { a.iter().filter(|b| b.c) }"),
        "fn f() -> X { a.iter().filter(|b| (on(0) || !on(1) && (b.c))) }"
    );
}

#[test]
fn options_orders_and_bounds() {
    assert_eq!(switched("fn f() -> X { a.or_else(|| b) }"), "fn f() -> X { a.mutant_or_else(0, || b) }");
    assert_eq!(switched("fn f() -> X { Some(a) }"), "fn f() -> X { (if on(0) { None } else { Some(a) }) }");
    assert_eq!(switched("fn f() -> X { a.min(b) }"), "fn f() -> X { a.mutant_min(0, b) }");
    assert_eq!(switched("fn f() -> X { a.chain(b) }"), "fn f() -> X { a.chain(nothing_of(0, b)) }");
    assert_eq!(
        switched("fn f() -> X { a.cmp(b) }"),
        "fn f() -> X { (match a.cmp(b) { o => if on(0) { o.reverse() } else { o } }) }"
    );
    assert_eq!(switched("fn f() -> X { g(true) }"), "fn f() -> X { g((on(0) != true)) }");
}

#[test]
fn tests_constants_patterns_macros_and_printing_stay() {
    assert_eq!(
        changes(
            "const A: bool = 1 < 2; static B: u8 = 3;
             #[cfg(test)] mod tests { fn f() -> bool { a } }
             impl fmt::Display for X { fn fmt(&self) -> R { if a { b } else { c } } }
             impl X { fn g() -> Y { const C: u8 = 1; match a { 1..=2 => b, Some(3) => format!(\"{}\", 1 + 2), _x => [d; 4] } } }"
        ),
        ["arm \"1..=2\" is skipped", "arm \"Some(3)\" is skipped"]
    );
}

#[test]
fn alike_mutants_of_a_function_are_told_apart() {
    let found = find("a.rs", "impl X { fn f() -> Y { g(1, 1) } }", 40).unwrap();
    let keys: Vec<String> = found.mutants.iter().map(super::Mutant::key).collect();
    assert_eq!(keys, ["a.rs X::f: 1 is 2", "a.rs X::f: 1 is 2 #2"]);
    assert_eq!(found.mutants.iter().map(|mutant| mutant.id).collect::<Vec<_>>(), [40, 41]);
}
