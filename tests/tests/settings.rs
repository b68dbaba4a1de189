//! Each program is configured the same way: flags, each with an environment variable,
//! one page of help, and every mistake reported at once.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use waykeeper_tests::parts::binary;

/// What each program serves with, and what else of it takes settings.
const PROGRAMS: [&[&str]; 9] = [
    &["extauth"],
    &["ratelimit"],
    &["waypoint"],
    &["waypoint", "bootstrap"],
    &["waypoint", "proxy"],
    &["waykeeper", "up"],
    &["waykeeper", "tunnel"],
    &["waykeeper", "status"],
    &["waykeeper", "check"],
];

fn run(program: &[&str], arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary(program[0]));
    command.args(&program[1..]).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn help(program: &[&str]) -> String {
    let output = run(program, &["--help"], &[]);
    assert!(output.status.success(), "{program:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The options of a help text, each with all of its lines.
fn options(help: &str) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    let below = help.lines().skip_while(|line| *line != "Options:").skip(1);
    for line in below.filter(|line| line.starts_with(" ")) {
        match options.last_mut() {
            Some(option) if line.starts_with("          ") => {
                option.push(' ');
                option.push_str(line.trim());
            }
            _ => options.push(line.trim().to_owned()),
        }
    }
    options
}

#[test]
fn help_is_one_page_and_every_flag_has_an_environment_variable() {
    for program in PROGRAMS {
        let help = help(program);
        // As many as a page of A4 has.
        assert!(help.lines().count() <= 70, "{program:?}: {} lines\n{help}", help.lines().count());
        let options = options(&help);
        assert!(options.len() >= 3, "{help}");
        for option in options.iter().filter(|o| !o.contains("--help") && !o.contains("--version")) {
            assert!(option.contains("[env: "), "{program:?}: {option} has no environment variable");
        }
    }
}

/// A program, and two variables that it cannot use.
type Wrong<'a> = (&'a [&'a str], [(&'a str, &'a str); 2]);

#[test]
fn every_mistake_is_reported_at_once_wherever_it_was_made() {
    let cases: [Wrong<'_>; 5] = [
        (&["extauth"], [("EXTAUTH_GRPC", "nowhere"), ("EXTAUTH_ADMIN", "9091")]),
        (&["ratelimit"], [("RATELIMIT_GRPC", "nowhere"), ("LOG_FORMAT", "xml")]),
        (&["waypoint"], [("WAYPOINT_GRPC", "nowhere"), ("WAYPOINT_BIND", "all")]),
        (&["waykeeper", "up"], [("WAYKEEPER_ADMIN", "x"), ("DRAIN_SECONDS", "soon")]),
        (&["waykeeper", "tunnel"], [("TUNNEL_TO", "envoy"), ("TUNNEL_PUBLISH", "80")]),
    ];
    for (program, environment) in cases {
        let output = run(program, &["--colour", "manifests"], &environment);
        assert_eq!(output.status.code(), Some(64), "{program:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        for (name, _) in environment {
            assert!(text.contains(&format!("${name})")), "{program:?} does not name {name}:\n{text}");
        }
        assert!(text.contains("--colour"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("error: ")).count(), 3, "{text}");
    }
}

#[test]
fn a_secret_in_a_setting_that_is_wrong_is_not_printed() {
    let environment = [("REDIS_URL", "redis://:hunter2@"), ("RATELIMIT_GRPC", "nowhere")];
    let output = run(&["ratelimit"], &["manifests"], &environment);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("$REDIS_URL") && text.contains("$RATELIMIT_GRPC") && !text.contains("hunter2"), "{text}");
}
