//! What JSON and YAML have in common: lists, maps and scalars, as the readers of formats see them.
//!
//! A scalar is the text that stands there: a password `012345` or `1e5` is no number, whatever
//! YAML's types say. Nodes are shared and never copied, so an alias costs nothing; how many there
//! are and how high they stand is bounded.

use std::rc::Rc;

/// More nodes are none that a provider writes: 4,096 proxies with twenty keys each.
pub(super) const MOST_NODES: usize = 200_000;

/// The height of a tree: recursion over it is bounded by this, aliases included.
pub(super) const GREATEST_HEIGHT: usize = 32;

/// Merge keys that are followed for one lookup.
const MOST_MERGES: usize = 8;

/// A value of a body.
#[derive(Debug)]
pub enum Node {
    /// Nothing.
    Null,
    /// The text of a scalar, whatever its type.
    Text(String),
    /// Values in their order.
    List(Vec<Rc<Node>>),
    /// Keys in their order.
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// The value of a key, unless it is null. Of a key that stands there twice, the first one.
    /// `<<` brings in the keys of other maps (<https://yaml.org/type/merge.html>).
    pub fn get(&self, key: &str) -> Option<&Node> {
        let mut merges = MOST_MERGES;
        self.merged(key, &mut merges)
    }

    fn merged(&self, key: &str, merges: &mut usize) -> Option<&Node> {
        let Node::Map(entries) = self else { return None };
        if let Some((_, value)) = entries.iter().find(|(name, _)| name == key) {
            return Some(&**value).filter(|value| !matches!(value, Node::Null));
        }
        let of_merges = entries.iter().filter(|(name, _)| name == "<<");
        let maps = of_merges.flat_map(|(_, value)| match &**value {
            Node::List(maps) => maps.as_slice(),
            _ => std::slice::from_ref(value),
        });
        for map in maps {
            *merges = merges.checked_sub(1)?;
            if let Some(found) = map.merged(key, merges) {
                return Some(found);
            }
        }
        None
    }

    /// The values, if it is a list.
    pub fn list(&self) -> Option<&[Rc<Node>]> {
        match self {
            Node::List(list) => Some(list),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a key, unless it is empty.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text().filter(|text| !text.is_empty())
    }

    /// Whether a key says yes.
    pub fn is_on(&self, key: &str) -> bool {
        self.yes_or_no(key) == Some(true)
    }

    /// Yes or no, as YAML 1.1 has it.
    pub fn yes_or_no(&self, key: &str) -> Option<bool> {
        match self.text_of(key)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

/// The bytes of passwords are wiped.
impl Drop for Node {
    fn drop(&mut self) {
        if let Node::Text(text) = self {
            zeroize::Zeroize::zeroize(text);
        }
    }
}
