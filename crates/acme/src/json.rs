//! Reading of JSON that an authority sent.

use serde_json::Value;

use crate::identifier::Identifier;

/// A value, read with doubt: a member of another type is as good as none.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a>(&'a Value);

impl<'a> Json<'a> {
    pub(crate) fn new(value: &'a Value) -> Json<'a> {
        Json(value)
    }

    pub(crate) fn get(self, name: &str) -> Option<Json<'a>> {
        self.0.get(name).map(Json)
    }

    /// A member that is a string.
    pub(crate) fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    /// A member that is an array; where it is none, nothing.
    pub(crate) fn list(self, name: &str) -> &'a [Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether a member is `true`.
    pub(crate) fn is_true(self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// The names of the members, if it is an object.
    pub(crate) fn names(self) -> Vec<&'a str> {
        self.0.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// An identifier object (RFC 8555 §9.7.7, RFC 8738 §3).
    pub(crate) fn identifier(self) -> Option<Identifier> {
        let value = self.text("value")?;
        let parsed = Identifier::parse(value).ok()?;
        let is_ip = matches!(parsed, Identifier::Ip(_));
        matches!((self.text("type")?, is_ip), ("dns", false) | ("ip", true)).then_some(parsed)
    }
}
