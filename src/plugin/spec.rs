//! Which program, and what it is told. The options are a text of the plugin's own; they may hold a
//! password, so no message shows their values.

use crate::search_path;
use crate::secret::Secret;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longer options are none: they have to fit the environment of a process.
const LONGEST_OPTIONS: usize = 4096;

/// What Debian calls a program that everybody else, and every link, calls otherwise.
const DEBIAN_NAMES: [(&str, &str); 1] = [("v2ray-plugin", "ss-v2ray-plugin")];

/// The programs that a subscription may name, and what it may tell them. The party behind it
/// chooses what runs here, so that is little: no file, and no other place to listen or to go,
/// all of which v2ray-plugin has options for (`cert`, `localAddr`, `remoteAddr`).
const PROVIDED: [(&str, &[&str]); 2] = [
    ("obfs-local", &["obfs", "obfs-host", "obfs-uri", "fast-open"]),
    ("v2ray-plugin", &["mode", "host", "path", "tls", "mux", "certRaw", "loglevel", "fast-open"]),
];

/// A plugin as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    program: String,
    options: Secret,
}

impl PluginSpec {
    /// `program`: a name that is looked for in PATH, or an absolute path.
    ///
    /// # Errors
    /// What is accepted.
    pub fn program_of(text: &str) -> Result<String, String> {
        let is_path = text.starts_with('/') && !text.ends_with('/');
        let is_short = text.len() <= 255 && !text.contains(char::is_control);
        match is_short && (is_path || is_file_name(text)) {
            true => Ok(text.to_owned()),
            false => Err("the name of a program, for example \"obfs-local\", or its whole path; \
                          what it is told stands in plugin-options"
                .into()),
        }
    }

    /// The options of a program, as SIP003 has them: `name=value;name`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn options_of(text: &str) -> Result<Secret, String> {
        let fits = text.len() <= LONGEST_OPTIONS && !text.contains(char::is_control);
        match fits {
            true => Ok(Secret::new(text)),
            false => Err(format!("at most {LONGEST_OPTIONS} bytes in one line")),
        }
    }

    /// Of what the two above have read.
    pub fn new(program: String, options: Secret) -> Self {
        PluginSpec { program, options }
    }

    /// The plugin of a link: `name;options`. A link comes from elsewhere: it names a program that
    /// the administrator has installed, and no path.
    ///
    /// # Errors
    /// What is accepted.
    pub fn of_link(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(';').unwrap_or((text, ""));
        // The project's name, which some panels write for that of its program.
        let program = if name == "simple-obfs" { "obfs-local" } else { name };
        if !is_file_name(program) {
            return Err("the name of a program, letters, digits, \"-\", \"_\" and \".\"".into());
        }
        Ok(PluginSpec::new(program.to_owned(), Self::options_of(options)?))
    }

    /// Whether a subscription may bring it, which the operator has not read. Others are the
    /// operator's own to write down.
    ///
    /// # Errors
    /// What was found, and what is accepted.
    pub fn check_provided(&self) -> Result<(), (String, String)> {
        let known = PROVIDED.iter().find(|(program, _)| *program == self.program);
        let Some((_, options)) = known else {
            let programs = PROVIDED.map(|(program, _)| program).join(" and ");
            let accepted = format!("{programs} in a subscription, others in a [[proxy]]");
            return Err((format!("the plugin {:?}", self.program), accepted));
        };
        let names = self.option_names();
        match names.iter().find(|name| !options.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let found = format!("the option {name:?} of the plugin {}", self.program);
                let accepted =
                    format!("{} in a subscription, others in a [[proxy]]", options.join(", "));
                Err((found, accepted))
            }
        }
    }

    /// As named.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// As written; perhaps empty.
    pub fn options(&self) -> &Secret {
        &self.options
    }

    /// The executable, if there is one.
    pub fn executable(&self) -> Option<PathBuf> {
        // A path that is absolute stays as it is.
        search_path::find(&self.program).or_else(|| {
            let debian = DEBIAN_NAMES.iter().find(|(usual, _)| *usual == self.program);
            debian.and_then(|(_, name)| search_path::find(name))
        })
    }

    /// Whether its way to the server is surely TCP, so that a server without TCP is down. Another
    /// program may go by UDP, as v2ray-plugin does in one mode.
    pub fn goes_by_tcp(&self) -> bool {
        match Path::new(&self.program).file_name().and_then(OsStr::to_str) {
            Some("obfs-local") => true,
            Some("v2ray-plugin" | "ss-v2ray-plugin") => !self
                .named_options()
                .iter()
                .any(|(name, value)| name == "mode" && value.as_str() == "quic"),
            _ => false,
        }
    }

    /// The names of the options, without their values.
    pub fn option_names(&self) -> Vec<String> {
        self.named_options().into_iter().map(|(name, _)| name).collect()
    }

    fn named_options(&self) -> Vec<(String, Zeroizing<String>)> {
        let text = Zeroizing::new(String::from_utf8_lossy(self.options.expose()).into_owned());
        let mut options = Vec::new();
        let (mut name, mut value) = (String::new(), Zeroizing::new(String::new()));
        let (mut is_name, mut is_escaped) = (true, false);
        for c in text.chars().chain([';']) {
            match c {
                '\\' if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                ';' if !is_escaped => {
                    options.push((std::mem::take(&mut name), std::mem::take(&mut value)));
                    is_name = true;
                }
                '=' if is_name && !is_escaped => is_name = false,
                c if is_name => name.push(c),
                c => value.push(c),
            }
            is_escaped = false;
        }
        options.retain(|(name, _)| !name.is_empty());
        options
    }
}

fn is_file_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_program_and_no_path() {
        let spec = PluginSpec::of_link("simple-obfs;obfs=http;obfs-host=a.example").unwrap();
        assert_eq!(spec.program(), "obfs-local");
        assert_eq!(spec.options().expose(), b"obfs=http;obfs-host=a.example");
        for text in ["/bin/sh;a", "../sh", "", ";obfs=http", "a b", "-c", "a\u{e9}"] {
            assert!(PluginSpec::of_link(text).is_err(), "{text}");
        }
    }

    /// Each of these would have run, or would have led the plugin elsewhere.
    #[test]
    fn a_provider_chooses_among_few() {
        let provided = |text: &str| PluginSpec::of_link(text).unwrap().check_provided();
        for text in ["simple-obfs;obfs=tls", "v2ray-plugin;tls;host=a.example;path=/a\\;b=c"] {
            assert_eq!(provided(text), Ok(()), "{text}");
        }
        for (text, found) in [
            ("reboot", "the plugin \"reboot\""),
            ("xray-plugin;mode=grpc", "the plugin \"xray-plugin\""),
            ("obfs-local;obfs=http;f=/tmp/a", "the option \"f\" of the plugin obfs-local"),
            ("v2ray-plugin;remoteAddr=::1", "the option \"remoteAddr\" of the plugin v2ray-plugin"),
            ("v2ray-plugin;ser\\ver", "the option \"server\" of the plugin v2ray-plugin"),
            ("v2ray-plugin;tls;TLS", "the option \"TLS\" of the plugin v2ray-plugin"),
        ] {
            assert_eq!(provided(text).unwrap_err().0, found);
        }
        let path = PluginSpec::new("/usr/bin/obfs-local".into(), Secret::new(""));
        assert!(path.check_provided().is_err());
    }

    #[test]
    fn the_file_may_name_a_path() {
        for text in ["obfs-local", "/opt/my plugin", "v2ray-plugin_linux.64"] {
            assert_eq!(PluginSpec::program_of(text).as_deref(), Ok(text));
        }
        for text in ["", "./a", "a/b", "/opt/", "obfs-local --obfs http", "/a\n"] {
            assert!(PluginSpec::program_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_surely_goes_by_tcp_is_said_to() {
        for (text, by_tcp) in [
            ("obfs-local;obfs=http", true),
            ("v2ray-plugin", true),
            ("ss-v2ray-plugin;mode=websocket;host=quic", true),
            ("v2ray-plugin;tls;mode=quic;host=a", false),
            ("v2ray-plugin;mode=\\quic", false),
            ("kcptun", false),
        ] {
            assert_eq!(PluginSpec::of_link(text).unwrap().goes_by_tcp(), by_tcp, "{text}");
        }
    }

    #[test]
    fn values_of_options_are_not_shown() {
        let options = PluginSpec::options_of(r"tls;host=a\;b;pass\=w=hunter2;;=x").unwrap();
        let spec = PluginSpec::new("p".into(), options);
        assert_eq!(spec.option_names(), ["tls", "host", "pass=w"]);
        assert!(!format!("{spec:?}").contains("hunter2"));
    }
}
