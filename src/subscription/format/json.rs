//! JSON, as serde_json reads it.

use super::UnreadableBody;
use super::tree::{MOST_NODES, Node};
use serde_json::Value;
use std::rc::Rc;

/// Reads a text. serde_json bounds its depth by 128.
///
/// # Errors
/// It is none, or of too many values; never a secret.
pub fn read(text: &str) -> Result<Rc<Node>, UnreadableBody> {
    // Each value but the first stands behind one of these; some stand in strings, which are few.
    let begins = text.bytes().filter(|byte| b"[{,:".contains(byte)).count();
    if begins > MOST_NODES {
        return Err(UnreadableBody::new("JSON of too many values"));
    }
    let value = serde_json::from_str(text).map_err(|error| {
        // What the error would say of the text may be a secret.
        let (line, column) = (error.line(), error.column());
        UnreadableBody::new(format!("JSON that breaks at line {line}, column {column}"))
    })?;
    Ok(node(value))
}

fn node(value: Value) -> Rc<Node> {
    Rc::new(match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Text(value.to_string()),
        Value::Number(number) => Node::Text(number.to_string()),
        Value::String(text) => Node::Text(text),
        Value::Array(list) => Node::List(list.into_iter().map(node).collect()),
        Value::Object(map) => {
            Node::Map(map.into_iter().map(|(key, value)| (key, node(value))).collect())
        }
    })
}
