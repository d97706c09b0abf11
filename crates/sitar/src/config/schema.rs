//! The JSON schema of the file (draft 2020-12), for editors.

use serde_json::{Map, Value, json};

use super::keys::{self, Form, Key, Table};

/// Returns the schema as text.
pub(super) fn text() -> String {
    format!("{:#}\n", schema())
}

/// Returns the schema.
pub(super) fn schema() -> Value {
    let mut schema = table(&keys::FILE, "The configuration of sitar.");
    if let Some(object) = schema.as_object_mut() {
        let draft = "https://json-schema.org/draft/2020-12/schema";
        object.insert("$schema".to_owned(), draft.into());
        object.insert("title".to_owned(), "sitar.toml".into());
    }
    schema
}

fn table(table: &'static Table, doc: &str) -> Value {
    let properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = json!({
        "type": "object",
        "description": doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let required = match table.name {
        "[[listen]]" => json!({ "required": ["address"] }),
        "[[site]]" => json!({ "oneOf": [{ "required": ["root"] }, { "required": ["redirect_to"] }] }),
        "certificate" => json!({ "required": ["chain", "key"] }),
        "[[acme.authority]]" => json!({ "required": ["directory"] }),
        "eab" => json!({ "required": ["kid", "key_file"] }),
        _ => json!({}),
    };
    if let (Some(schema), Value::Object(required)) = (schema.as_object_mut(), required) {
        schema.extend(required);
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut property = form(key);
    if let Some(property) = property.as_object_mut() {
        property.insert("description".to_owned(), description(key).into());
        if let Some(default) = key.default.and_then(json_value) {
            property.insert("default".to_owned(), default);
        }
    }
    property
}

fn form(key: &'static Key) -> Value {
    match key.form {
        Form::Switch => json!({ "type": "boolean" }),
        Form::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Form::Numbers(numbers) => json!({ "type": "integer", "enum": numbers }),
        Form::Word(words) => {
            let words: Vec<&str> = words().into_iter().map(|(word, _)| word).collect();
            json!({ "enum": words })
        }
        // The only text that may be empty.
        Form::Text if key.name == "prefix" => json!({ "type": "string" }),
        Form::Text => json!({ "type": "string", "minLength": 1 }),
        Form::Path => json!({ "type": "string", "minLength": 1 }),
        Form::Texts(most) => json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "array",
                "items": { "type": "string", "minLength": 1 },
                "minItems": 1,
                "maxItems": most,
            },
        ] }),
        Form::Size => json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": u32::MAX },
            { "type": "string", "minLength": 1 },
        ] }),
        Form::Certificate => {
            let pair = table(&keys::CERTIFICATE, keys::CERTIFICATE.doc);
            let most = keys::CERTIFICATES_MAX;
            json!({ "anyOf": [
                { "enum": ["acme", "local"] },
                pair,
                { "type": "array", "items": pair, "minItems": 1, "maxItems": most },
            ] })
        }
        Form::Table(inner) => table(inner, inner.doc),
        Form::Tables(inner, most) => {
            json!({ "type": "array", "items": table(inner, inner.doc), "maxItems": most })
        }
    }
}

/// Returns what a key means, and its words.
fn description(key: &Key) -> String {
    let Form::Word(words) = key.form else { return key.doc.to_owned() };
    let words: Vec<String> =
        words().into_iter().map(|(word, meaning)| format!("\"{word}\": {meaning}.")).collect();
    format!("{} {}", key.doc, words.join(" "))
}

/// Returns a default of the definitions, which are numbers, words and switches.
fn json_value(toml: &str) -> Option<Value> {
    serde_json::from_str(toml).ok()
}
