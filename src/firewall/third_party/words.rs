//! The words of a rule as iptables-save prints it.

/// The words of a saved rule; quotes as iptables-save writes them, with `\"` inside.
pub(in crate::firewall) struct Words<'a>(pub(in crate::firewall) &'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        if text.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = text.find(|letter: char| {
            match letter {
                _ if escaped => {
                    escaped = false;
                    return false;
                }
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            letter == ' ' && !quoted
        });
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        Some(word)
    }
}
