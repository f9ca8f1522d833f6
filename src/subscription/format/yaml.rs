//! YAML, from the events of saphyr's parser.
//!
//! Only what a subscription can use is kept: of the top of the file the keys of [`WANTED`], and
//! what has an anchor. A Clash file has up to a hundred thousand rules that are nothing to us.

use super::UnreadableBody;
use super::tree::{GREATEST_HEIGHT, MOST_NODES, Node};
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;
use std::rc::Rc;

/// Keys at the top of the file.
const WANTED: [&str; 6] =
    ["proxies", "outbounds", "servers", "version", "bytes_used", "bytes_remaining"];

/// So many other keys are kept by their names.
const MOST_OTHERS: usize = 64;

/// Reads the first document of a text.
pub(super) fn read(text: &str) -> Result<Rc<Node>, UnreadableBody> {
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            UnreadableBody::new(format!("YAML that breaks at line {line}, column {column}"))
        })?;
        if let Some(root) = tree.take(event)? {
            return Ok(root);
        }
    }
    Err(UnreadableBody::new("YAML without a value"))
}

/// The document so far.
#[derive(Default)]
struct Tree {
    open: Vec<OpenCollection>,
    anchors: HashMap<usize, Finished>,
    nodes: usize,
}

/// A collection whose end has not come.
struct OpenCollection {
    node: Node,
    /// Of a map: the key whose value comes next.
    key: Option<String>,
    anchor: usize,
    height: usize,
    /// Whether it has a place in the result.
    is_kept: bool,
}

#[derive(Clone)]
struct Finished {
    node: Rc<Node>,
    height: usize,
}

impl Tree {
    /// Takes in an event; returns the root when that is whole.
    fn take(&mut self, event: Event<'_>) -> Result<Option<Rc<Node>>, UnreadableBody> {
        match event {
            Event::MappingStart(anchor, _) => self.begin(Node::Map(Vec::new()), anchor)?,
            Event::SequenceStart(anchor, _) => self.begin(Node::List(Vec::new()), anchor)?,
            Event::MappingEnd | Event::SequenceEnd => {
                let Some(OpenCollection { node, anchor, height, is_kept, .. }) = self.open.pop()
                else {
                    return Ok(None);
                };
                return self.finish(Finished { node: Rc::new(node), height }, anchor, is_kept);
            }
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let is_kept = self.keeps_next() || anchor > 0;
                let node = match is_null || !is_kept && !self.awaits_key() {
                    true => Node::Null,
                    false => Node::Text(text.into_owned()),
                };
                return self.finish(Finished { node: Rc::new(node), height: 0 }, anchor, is_kept);
            }
            Event::Alias(anchor) => {
                // One that stands within its own anchor means nothing.
                let null = || Finished { node: Rc::new(Node::Null), height: 0 };
                let finished = self.anchors.get(&anchor).cloned().unwrap_or_else(null);
                let is_kept = self.keeps_next();
                return self.finish(finished, 0, is_kept);
            }
            _ => {}
        }
        Ok(None)
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), UnreadableBody> {
        if self.open.len() >= GREATEST_HEIGHT {
            return Err(UnreadableBody::new("YAML that is nested too deeply"));
        }
        let is_kept = self.open.is_empty() || self.keeps_next() || anchor > 0;
        self.open.push(OpenCollection { node, key: None, anchor, height: 0, is_kept });
        Ok(())
    }

    /// Whether the value that comes next has a place.
    fn keeps_next(&self) -> bool {
        match self.open.as_slice() {
            [] => true,
            // A list of servers, or the map of the file.
            [OpenCollection { node: Node::List(_), .. }] => true,
            [root] => root.key.as_deref().is_none_or(|key| WANTED.contains(&key)),
            [.., parent] => parent.is_kept,
        }
    }

    fn awaits_key(&self) -> bool {
        let last = self.open.last();
        last.is_some_and(|open| matches!(open.node, Node::Map(_)) && open.key.is_none())
    }

    fn finish(
        &mut self,
        finished: Finished,
        anchor: usize,
        is_kept: bool,
    ) -> Result<Option<Rc<Node>>, UnreadableBody> {
        if is_kept {
            self.nodes += 1;
        }
        if self.nodes > MOST_NODES || finished.height > GREATEST_HEIGHT {
            return Err(UnreadableBody::new("YAML of too many values"));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, finished.clone());
        }
        let keeps_next = self.keeps_next();
        let is_root = self.open.len() == 1;
        let Some(parent) = self.open.last_mut() else { return Ok(Some(finished.node)) };
        match &mut parent.node {
            Node::Map(_) if parent.key.is_none() => {
                // A key that is no text is nobody's.
                parent.key = Some(finished.node.text().unwrap_or_default().to_owned());
                return Ok(None);
            }
            Node::Map(entries) => {
                let key = parent.key.take().unwrap_or_default();
                if keeps_next {
                    entries.push((key, finished.node));
                } else if is_root && entries.len() < MOST_OTHERS {
                    entries.push((key, Rc::new(Node::Null)));
                }
            }
            Node::List(list) if keeps_next => list.push(finished.node),
            _ => {}
        }
        parent.height = parent.height.max(finished.height + 1);
        Ok(None)
    }
}
