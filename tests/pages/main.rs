//! The manual page and the completions of the shells are made from the command line's own
//! definition. They are kept in the repository, so that whoever installs snet needs nothing to make
//! them; this test holds them against the definition.
//!
//! After a change of the command line: `SNET_BLESS=1 cargo test --test pages`.

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::fs;
use std::path::Path;

#[test]
fn the_manual_page_is_that_of_the_command_line() {
    is_kept("scripts/man/snet.8", manual());
}

#[test]
fn the_completions_are_those_of_the_command_line() {
    for (shell, file) in [
        (Shell::Bash, "scripts/completions/snet.bash"),
        (Shell::Zsh, "scripts/completions/_snet"),
        (Shell::Fish, "scripts/completions/snet.fish"),
    ] {
        let mut text = Vec::new();
        generate(shell, &mut command(), "snet", &mut text);
        is_kept(file, text);
    }
}

/// The command line, without the commands that snet only gives itself.
fn command() -> Command {
    let whole = snet::cli::command();
    let (hidden, shown): (Vec<_>, Vec<_>) =
        whole.get_subcommands().cloned().partition(Command::is_hide_set);
    assert!(shown.len() > 5 && !hidden.is_empty(), "{shown:?} {hidden:?}");
    let about = whole.get_about().cloned().unwrap_or_default();
    let mut command = Command::new("snet")
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true)
        .args(whole.get_arguments().cloned())
        .subcommands(shown);
    command.build();
    command
}

/// One page for all commands: whoever looks for an option finds it by one search.
fn manual() -> Vec<u8> {
    let command = command();
    let main = Man::new(command.clone());
    // No date and no version: the page of the next release is the same, unless a command changes.
    let mut page = b".TH SNET 8 \"\" \"snet\" \"System administration\"\n".to_vec();
    // Writing to memory cannot fail.
    main.render_name_section(&mut page).expect("memory");
    main.render_synopsis_section(&mut page).expect("memory");
    main.render_description_section(&mut page).expect("memory");
    main.render_options_section(&mut page).expect("memory");
    section(&mut page, "COMMANDS");
    for each in command.get_subcommands().filter(|it| it.get_name() != "help") {
        one_command(&mut page, each, "snet");
    }
    page.extend(fs::read(root().join("tests/pages/rest.8")).expect("the rest of the page"));
    page
}

fn one_command(page: &mut Vec<u8>, command: &Command, before: &str) {
    let name = format!("{before} {}", command.get_name());
    let mut nested = command.get_subcommands().filter(|it| it.get_name() != "help");
    if let Some(first) = nested.next() {
        for each in std::iter::once(first).chain(nested) {
            one_command(page, each, &name);
        }
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut head = Roff::new();
    head.control("SS", [usage]);
    let about = command.get_long_about().or(command.get_about());
    head.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
    head.to_writer(page).expect("memory");
    let mut options = Vec::new();
    Man::new(command.clone()).render_options_section(&mut options).expect("memory");
    let options = String::from_utf8(options).expect("the definition is text");
    // The heading stands above all of them, and each command has --help.
    let entries = options.split("\n.TP\n").skip(1).filter(|it| !it.contains("\\-\\-help"));
    for entry in entries {
        page.extend(format!(".TP\n{}\n", entry.trim_end()).into_bytes());
    }
}

fn section(page: &mut Vec<u8>, name: &str) {
    let mut roff = Roff::new();
    roff.control("SH", [name]);
    roff.to_writer(page).expect("memory");
}

fn is_kept(file: &str, text: Vec<u8>) {
    let path = root().join(file);
    let text = String::from_utf8(text).expect("text");
    if std::env::var_os("SNET_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, &text).expect("it can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{file} is not that of this command line: SNET_BLESS=1 cargo test --test pages"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
