//! Certificates that are ordered from authorities, in documents.

use serde_json::{Value, json};
use sitar_acme::Progress;

use super::SCHEMA;
use super::document::Object;
use crate::acme::told::{progress_to_json, read_progress};
use crate::error::Error;

/// A certificate that is ordered from an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The names and addresses that it is wanted for.
    pub names: Vec<String>,
    /// Whether it is served; if not, the local one is in its place.
    pub is_served: bool,
    /// What is known of it.
    pub progress: Progress,
}

/// Returns the document of all of them.
pub(super) fn list(all: &[Ordered]) -> Value {
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "ordered": all.iter().map(Ordered::to_json).collect::<Vec<_>>(),
    })
}

/// Returns the document of something that is only begun.
pub(super) fn begun(begun: &Result<(), Error>) -> Value {
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "begun": begun.is_ok(),
        "problem": begun.as_ref().err().map(Error::to_json),
    })
}

/// Reads the document of [`Request::Certificates`](super::Request::Certificates). `None`: it has
/// another shape.
#[must_use]
pub fn read_ordered(document: &Value) -> Option<Vec<Ordered>> {
    Object::of_schema(document)?.list("ordered", Ordered::from_json)
}

/// Reads the document of a request for something that is only begun. `None`: it has another shape.
#[must_use]
pub fn read_done(document: &Value) -> Option<Result<(), Error>> {
    let object = Object::of_schema(document)?;
    if object.truth("begun")? {
        return Some(Ok(()));
    }
    Error::from_json(object.0.get("problem")?).map(Err)
}

impl Ordered {
    fn to_json(&self) -> Value {
        let mut value = progress_to_json(&self.progress);
        value["names"] = json!(self.names);
        value["served"] = self.is_served.into();
        value
    }

    fn from_json(value: &Value) -> Option<Ordered> {
        let object = Object(value);
        let (names, is_served) = (object.texts("names")?, object.truth("served")?);
        Some(Ordered { names, is_served, progress: read_progress(value)? })
    }
}
