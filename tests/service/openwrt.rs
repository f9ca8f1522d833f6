//! The script for OpenWrt, with procd and its functions played by the shell.
