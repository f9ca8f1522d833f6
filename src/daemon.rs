//! Start, supervise, stop.
