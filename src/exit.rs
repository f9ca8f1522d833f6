//! Exit codes of every command, as in sysexits.h.

/// EX_USAGE: wrong arguments, or a verb that the daemon does not know.
pub const USAGE: u8 = 64;

/// EX_UNAVAILABLE: something outside is missing or taken.
pub const UNAVAILABLE: u8 = 69;

/// EX_SOFTWARE: a bug of snet.
pub const SOFTWARE: u8 = 70;

/// EX_NOPERM: this user may not.
pub const NOPERM: u8 = 77;

/// EX_CONFIG: the configuration file is wrong.
pub const CONFIG: u8 = 78;
