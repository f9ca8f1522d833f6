//! Foreign UDP through the proxy.
