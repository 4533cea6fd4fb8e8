//! Which commands take which options of a pass: the others do not offer them in their help.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory};

use crate::cli::args::{Cli, CommonArgs, PassArgs, RunArgs};

/// The agent's command.
pub(in crate::cli) const RUN: &str = "run";

/// Options that mean something only to what looks at the host and plans, by their identifiers.
const OF_PASSES: [&str; 11] = [
    "only",
    "deep",
    "detailed_exitcode",
    "max_age",
    "confirm_removals",
    "hooks",
    "effects",
    "windows",
    "metrics_file",
    "host",
    "facts",
];

/// Whether a command takes one of them.
fn takes(command: &str, option: &str) -> bool {
    // What makes passes of its own; an update of `sysupdate` is one.
    let of_pass = !matches!(option, "only" | "host" | "facts");
    match command {
        "plan" | "apply" => true,
        RUN => of_pass && option != "detailed_exitcode",
        "rollback" | "sysupdate" => of_pass,
        "request" => option == "only",
        "diff" => matches!(option, "deep" | "max_age" | "effects" | "host" | "facts"),
        "status" => {
            matches!(option, "deep" | "max_age" | "effects" | "metrics_file" | "host" | "facts")
        }
        "explain" | "list" => {
            matches!(option, "deep" | "max_age" | "effects" | "windows" | "host" | "facts")
        }
        "validate" => matches!(option, "host" | "facts"),
        "units" => matches!(option, "metrics_file" | "hooks" | "effects"),
        _ => false,
    }
}

/// What was typed, where that is what runs often or for long, which is quickly described: a pass, or the agent.
pub(in crate::cli) fn often() -> Option<ArgMatches> {
    let bare = |name| Command::new(name).disable_help_flag(true);
    let pass = bare("reconcile").disable_help_subcommand(true);
    let pass = CommonArgs::augment_args(PassArgs::augment_args(pass));
    let often = pass.subcommand(RunArgs::augment_args(bare(RUN)));
    often.try_get_matches().ok().filter(|found| refused(found).is_none())
}

/// The command line, where no command offers in its help what it does not take.
pub(in crate::cli) fn described() -> Command {
    let all = Cli::command();
    let known = all.get_arguments().filter(|known| OF_PASSES.contains(&known.get_id().as_str()));
    let options: Vec<Arg> = known.cloned().collect();
    all.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        let others = options.iter().filter(|option| !takes(&name, option.get_id().as_str()));
        // What a command has itself stands before what all have.
        command.args(others.map(|option| option.clone().hide(true)))
    })
}

/// The command that was typed with an option that would narrow or unlock what it does, which it does not take, and
/// that option. What else is superfluous does no harm.
pub(in crate::cli) fn refused(matches: &ArgMatches) -> Option<(String, &'static str)> {
    let (command, below) = matches.subcommand()?;
    let typed = |option: &str| below.value_source(option) == Some(ValueSource::CommandLine);
    let option = if typed("only") && !takes(command, "only") {
        "--only"
    } else if command == "request" && typed("confirm_removals") {
        "--confirm-removals"
    } else {
        return None;
    };
    Some((command.to_owned(), option))
}
