//! What is wrong with a configuration file: a line for each problem, and for a terminal the place
//! where it stands.

use crate::exit;

/// Everything that is wrong with a configuration file; at least one problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct Error {
    /// One line each: file, line, key, what was found, what is accepted.
    pub problems: Vec<String>,
    /// Of each problem the line of the file, if there is one that may be shown.
    excerpts: Vec<Option<Excerpt>>,
    /// Whether this user may not read the file.
    is_forbidden: bool,
}

/// What is wrong, and where.
pub(super) type PlacedProblem = (String, Option<Excerpt>);

/// A line of the file, and what is meant on it. A value that may be a secret is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Counted from 1.
    pub line: usize,
    /// The line, or what of it may be shown.
    pub text: String,
    /// The first character that is meant, counted from 0.
    pub begin: usize,
    /// How many are.
    pub length: usize,
}

impl Error {
    /// These problems, with their places.
    pub(super) fn new(problems: Vec<PlacedProblem>) -> Self {
        let (problems, excerpts) = problems.into_iter().unzip();
        Error { problems, excerpts, is_forbidden: false }
    }

    /// A problem of the file as a whole.
    pub(super) fn whole(problem: String) -> Self {
        Error::new(vec![(problem, None)])
    }

    /// The file belongs to somebody else.
    pub(super) fn forbidden(problem: String) -> Self {
        Error { is_forbidden: true, ..Error::whole(problem) }
    }

    /// Each problem with its place.
    pub fn places(&self) -> impl Iterator<Item = (&str, Option<&Excerpt>)> {
        let excerpts = self.excerpts.iter().map(Option::as_ref);
        self.problems.iter().map(String::as_str).zip(excerpts)
    }

    /// What a command that fails so exits with.
    pub fn exit_code(&self) -> u8 {
        if self.is_forbidden { exit::NOPERM } else { exit::CONFIG }
    }
}
