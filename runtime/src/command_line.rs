//! Reads a command line and the environment, and reports every mistake at once.
//!
//! clap stops at the first value it cannot use. We note it, let that argument
//! take any text, and have clap look again, until nothing new is wrong.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Error, Id, Parser};

use crate::EXIT_USAGE;

/// More mistakes than anyone makes: an end to the looking.
const MOST: usize = 64;

/// The settings of this process; otherwise it has been said why there are none, and how to exit.
///
/// # Errors
/// With the exit code, when help was asked for, or something is wrong.
#[allow(clippy::print_stdout, reason = "that is where help goes")]
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    match read::<C>(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(settings) => Ok(settings),
        Err(Unusable::Asked(text)) => {
            print!("{text}");
            Err(ExitCode::SUCCESS)
        }
        Err(Unusable::Mistakes(mistakes)) => {
            for mistake in &mistakes {
                eprintln!("error: {mistake}");
            }
            eprintln!("\nFor more information, try '--help'.");
            Err(ExitCode::from(EXIT_USAGE))
        }
    }
}

/// Why there are no settings.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Help or the version was asked for: this is it.
    Asked(String),
    /// Everything that is wrong, a sentence each.
    Mistakes(Vec<String>),
}

/// Reads `args`, the name of the program first, and the environment.
///
/// # Errors
/// When help was asked for, or something is wrong.
pub fn read<C: Parser>(args: &[OsString]) -> Result<C, Unusable> {
    let mut args = args.to_vec();
    let mut command = one_page(C::command());
    let mut mistakes = Vec::new();
    while mistakes.len() < MOST {
        let error = match command.clone().try_get_matches_from(&args) {
            // No argument takes any text yet: the values are those of the right types.
            Ok(matches) if mistakes.is_empty() => match C::from_arg_matches(&matches) {
                Ok(settings) => return Ok(settings),
                Err(error) => error,
            },
            Ok(_) => break,
            Err(error) => error,
        };
        if !error.use_stderr() {
            return Err(Unusable::Asked(error.to_string()));
        }
        let mut built = command.clone();
        built.build();
        let flawed = flaw(&error).and_then(|named| find(&built, &named));
        let mistake = sentence(&error, flawed);
        if mistakes.contains(&mistake) {
            break;
        }
        mistakes.push(mistake);
        match (error.kind(), flawed) {
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(arg)) => {
                command = lenient(command, arg.get_id());
            }
            (ErrorKind::UnknownArgument, _) => {
                let Some(unknown) = flaw(&error) else { break };
                let is_it = |arg: &OsString| {
                    let text = arg.to_string_lossy();
                    text == unknown.as_str() || text.split_once('=').is_some_and(|(flag, _)| flag == unknown)
                };
                let before = args.len();
                args.retain(|arg| !is_it(arg));
                if args.len() == before {
                    break;
                }
            }
            // What else is wrong cannot be told without what is missing.
            _ => break,
        }
    }
    Err(Unusable::Mistakes(mistakes))
}

/// `--help` is one line for each setting, in every subcommand too.
fn one_page(command: Command) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).help("Print help");
    command.disable_help_flag(true).arg(help.display_order(1000)).mut_subcommands(one_page)
}

/// The argument an error is about, as clap writes it, e.g. `--admin <ADDR>`.
fn flaw(error: &Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(named)) => Some(named.clone()),
        _ => None,
    }
}

/// The argument that clap so calls, in a command that has been built.
fn find<'a>(command: &'a Command, named: &str) -> Option<&'a Arg> {
    let here = command.get_arguments().find(|arg| arg.to_string() == named);
    here.or_else(|| command.get_subcommands().find_map(|inner| find(inner, named)))
}

/// `command`, but the argument `named` takes any text.
fn lenient(command: Command, named: &Id) -> Command {
    command
        .mut_args(|arg| if arg.get_id() == named { arg.value_parser(ValueParser::os_string()) } else { arg })
        .mut_subcommands(|inner| lenient(inner, named))
}

/// What is wrong, where it was set, and never a value that may be secret.
fn sentence(error: &Error, arg: Option<&Arg>) -> String {
    let variable = arg.and_then(Arg::get_env).map(|name| name.to_string_lossy().into_owned());
    let text = match arg {
        Some(arg) if arg.is_hide_env_values_set() && error.source().is_none() => format!("invalid value for '{arg}'"),
        Some(arg) if arg.is_hide_env_values_set() => {
            format!("invalid value for '{arg}': {}", error.source().map(ToString::to_string).unwrap_or_default())
        }
        _ => said(error),
    };
    match variable {
        Some(name) => format!("{text} (also set by ${name})"),
        None => text,
    }
}

/// clap's own words, without its heading, its usage lines and its pointer to the help.
fn said(error: &Error) -> String {
    let text = error.to_string();
    let lines =
        text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let joined = lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    joined.trim_start_matches("error: ").replace(":; ", ": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addr;

    #[derive(Debug, Parser)]
    #[command(name = "server", version)]
    struct Cli {
        #[arg(required = true)]
        paths: Vec<String>,
        /// Where to serve
        #[arg(long, env = "COMMAND_LINE_TEST_GRPC", default_value = "127.0.0.1:1")]
        grpc: Addr,
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
        count: u8,
        #[arg(long, value_parser = secret, hide_env_values = true, env = "COMMAND_LINE_TEST_URL")]
        url: Option<String>,
    }

    fn secret(_: &str) -> Result<String, String> {
        Err("it has no host".to_owned())
    }

    fn of(args: &[&str]) -> Result<Cli, Unusable> {
        read::<Cli>(&std::iter::once("server").chain(args.iter().copied()).map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_mistake_is_reported_and_no_secret() {
        let wrong = ["--grpc", "nowhere", "--count=0", "--colour", "--url", "redis://:hunter2@", "a"];
        let Err(Unusable::Mistakes(mistakes)) = of(&wrong) else { panic!("accepted") };
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        let all = mistakes.join("\n");
        for part in ["--grpc", "$COMMAND_LINE_TEST_GRPC", "\"nowhere\" is not an address", "--count", "--colour"] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(all.contains("'--url <URL>': it has no host") && !all.contains("hunter2"), "{all}");
    }

    #[test]
    fn what_is_missing_is_said_after_what_is_wrong() {
        let Err(Unusable::Mistakes(mistakes)) = of(&["--count", "x"]) else { panic!("accepted") };
        assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
        assert!(mistakes[1].contains("<PATHS>"), "{mistakes:#?}");
    }

    #[test]
    fn without_mistakes_there_are_settings_and_help_is_no_mistake() {
        let settings = of(&["a", "--count", "4"]).expect("settings");
        assert_eq!((settings.paths.len(), settings.count, settings.grpc.to_string().as_str()), (1, 4, "127.0.0.1:1"));
        assert!(settings.url.is_none());
        assert!(matches!(of(&["--help"]), Err(Unusable::Asked(help)) if help.contains("Where to serve")));
        assert!(matches!(of(&["--version"]), Err(Unusable::Asked(_))));
    }
}
