//! The terminal: taken at the start, and given back on every way out. A panic gives it back before
//! it says anything (the hook of `ratatui::try_init`), an error and the end when this is dropped;
//! signals end the program in the ordinary way (`news`).

use ratatui::{DefaultTerminal, Frame};
use std::io;

/// The whole terminal, without echo and line by line.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// # Errors
    /// It is no terminal that can be set up, or it is gone.
    pub(super) fn take() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                // Half of it may be done.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// # Errors
    /// The terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Every cell is written at the next draw. (`Terminal::clear` would ask the terminal where its
    /// cursor is, and the answer would come as keys.)
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn wipe(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The hook has given it back, and the panic has spoken since: nothing may go over that.
        if std::thread::panicking() {
            return;
        }
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
        let _ = self.terminal.show_cursor();
    }
}
