//! What is wrong with a configuration file. A pipe gets one line for each problem; at a terminal
//! the line of the file is shown, what on it is meant, and what it might have meant.

use super::out::fail;
use crate::config::{self, CONFIG_FILE, Config, Excerpt, Loaded, Purpose};
use std::env;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

/// Reads a configuration file, or says what is wrong with it.
pub fn load(path: &Path, purpose: Purpose) -> Result<Loaded, ExitCode> {
    Config::load(path, purpose).map_err(|error| {
        let code = error.exit_code();
        let is_absent = path.as_os_str() == CONFIG_FILE && !path.exists();
        let remedy =
            if is_absent && error.exit_code() != crate::exit::NOPERM { ABSENT } else { "" };
        let mut text = match io::stderr().is_terminal() {
            true => for_terminal(&error, Ink::of_environment()),
            false => error.to_string(),
        };
        text.push_str(remedy);
        fail(code, text)
    })
}

#[cfg(feature = "import")]
const ABSENT: &str = "
It is the file that is taken if none is named: write your proxy into it (README.md has the few lines
it needs, config.example.toml every key), make it of another program's file with
`sudo mkdir -p /etc/snet` and `sudo snet config import FILE -o /etc/snet/config.toml`, or name one
with -c FILE. `snet --help` has all commands.";

#[cfg(not(feature = "import"))]
const ABSENT: &str = "
It is the file that is taken if none is named: write your proxy into it (README.md has the few lines
it needs, config.example.toml every key), or name one with -c FILE. `snet --help` has all
commands.";

/// Colours, or none.
#[derive(Clone, Copy)]
struct Ink(bool);

impl Ink {
    /// <https://no-color.org>
    fn of_environment() -> Self {
        Ink(env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn blue(self, text: &str) -> String {
        self.with("1;34", text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn for_terminal(error: &config::Error, paint: Ink) -> String {
    let problems = error.places().map(|(problem, place)| match place {
        Some(place) => with_place(problem, place, paint),
        None => format!("{}: {problem}", paint.red("error")),
    });
    problems.collect::<Vec<_>>().join("\n\n")
}

/// As compilers have it, since many know how to read that.
fn with_place(problem: &str, place: &Excerpt, paint: Ink) -> String {
    let Excerpt { line, text, begin, length } = place;
    let at = format!(":{line}: ");
    let (path, told) = problem.split_once(&at).unwrap_or(("", problem));
    let (found, accepted) = told.split_once("; accepted: ").unwrap_or((told, ""));
    let (found, of_key) = without_hint(found);
    let (accepted, of_value) = without_hint(accepted);
    let hint = of_key.or(of_value).unwrap_or_default();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let bar = paint.blue("|");
    let printable: String = text.chars().map(printable).collect();
    let before: usize = text.chars().take(*begin).map(columns).sum();
    let meant: usize = text.chars().skip(*begin).take(*length).map(columns).sum();
    let carets = paint.red(format!("{} {hint}", "^".repeat(meant.max(1))).trim_end());
    let mut shown = format!("{}: {found}\n", paint.red("error"));
    // A String takes every write.
    let _ = writeln!(shown, "{margin}{} {path}:{line}", paint.blue("-->"));
    let _ = writeln!(shown, "{margin} {bar}");
    let _ = writeln!(shown, "{} {bar} {printable}", paint.blue(&number));
    let _ = write!(shown, "{margin} {bar} {}{carets}", " ".repeat(before));
    if !accepted.is_empty() {
        let _ = write!(shown, "\n{margin} {} accepted: {accepted}", paint.blue("="));
    }
    shown
}

/// A text without what it might have meant, and that.
fn without_hint(text: &str) -> (String, Option<&str>) {
    let begin = [" (did you mean ", " (it belongs "].iter().find_map(|begin| text.find(begin));
    let Some(begin) = begin else { return (text.to_owned(), None) };
    let Some(end) = text[begin..].find(')').map(|end| begin + end) else {
        return (text.to_owned(), None);
    };
    (format!("{}{}", &text[..begin], &text[end + 1..]), Some(&text[begin + 2..end]))
}

/// A file must not garble the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// East Asian characters take two columns, a byte order mark none.
fn columns(c: char) -> usize {
    match c {
        '\u{feff}' => 0,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' => 2,
        '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' => 2,
        '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(problem: &str, text: &str, begin: usize, length: usize) -> String {
        let place = Excerpt { line: 12, text: text.into(), begin, length };
        with_place(problem, &place, Ink(false))
    }

    #[test]
    fn a_problem_is_shown_at_its_place() {
        let lines = |lines: &[&str]| lines.join("\n");
        let value =
            "a.toml:12: mode: found \"lokal\"; accepted: \"local\" (did you mean \"local\"?)";
        let place = lines(&[
            "error: mode: found \"lokal\"",
            "  --> a.toml:12",
            "   |",
            "12 | mode = \"lokal\"",
            "   |        ^^^^^^^ did you mean \"local\"?",
            "   = accepted: \"local\"",
        ]);
        assert_eq!(shown(value, "mode = \"lokal\"", 7, 7), place);
        let key =
            "a.toml:12: lisen: found an unknown key (did you mean \"listen\"?); accepted: mode";
        let place = lines(&[
            "error: lisen: found an unknown key",
            "  --> a.toml:12",
            "   |",
            "12 | [lisen]",
            "   |  ^^^^^ did you mean \"listen\"?",
            "   = accepted: mode",
        ]);
        assert_eq!(shown(key, "[lisen]", 1, 5), place);
        let syntax = "a.toml:12: column 7: found the end of the line; strings have quotes";
        let place = lines(&[
            "error: column 7: found the end of the line; strings have quotes",
            "  --> a.toml:12",
            "   |",
            "12 | mode =",
            "   |       ^",
        ]);
        assert_eq!(shown(syntax, "mode =", 6, 1), place);
    }

    #[test]
    fn a_terminal_is_not_garbled_and_columns_are_counted() {
        let lines = shown("a:12: x: found y; accepted: z", "\t\u{1b}[2J名 = 5", 8, 1);
        assert!(lines.contains("12 |  \u{fffd}[2J名 = 5\n   |          ^\n"), "{lines}");
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        assert_eq!(Ink(true).red("x"), "\x1b[1;31mx\x1b[0m");
        assert_eq!(Ink(false).blue("x"), "x");
    }
}
