//! A listing as JSON (RFC 8259): one object, one line for each thing in the folder.

use super::text::{is_deceptive, push_text, push_url};
use super::{Kind, Row, Write};
use sitar_http::date::write_rfc3339;

#[derive(Default)]
pub(super) struct Json {
    out: Vec<u8>,
    has_rows: bool,
}

impl Json {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a string, in which deceptive characters are escaped.
    fn push_string(&mut self, text: &[u8]) {
        self.out.push(b'"');
        push_text(text, &mut self.out, escape);
        self.out.push(b'"');
    }
}

impl Write for Json {
    fn begin(&mut self, folder: &[u8]) {
        let path = if folder.is_empty() { b"/".to_vec() } else { [b"/", folder, b"/"].concat() };
        self.push("{\"path\":");
        self.push_string(&path);
        self.push(",\"entries\":[");
    }

    fn row(&mut self, row: &Row<'_>) {
        self.push(if self.has_rows { ",\n{\"name\":" } else { "\n{\"name\":" });
        self.has_rows = true;
        self.push_string(row.name);
        self.push(",\"href\":\"./");
        push_url(row.name, &mut self.out);
        match row.kind {
            Kind::Folder => self.push("/\",\"type\":\"folder\""),
            Kind::File { size, modified } => {
                self.push("\",\"type\":\"file\"");
                if let Some(size) = size {
                    self.push(&format!(",\"size\":{size}"));
                }
                if let Some(modified) = modified {
                    self.push(",\"modified\":\"");
                    self.out.extend_from_slice(&write_rfc3339(modified));
                    self.push("\"");
                }
            }
        }
        self.push("}");
    }

    fn end(mut self, omitted: usize) -> Vec<u8> {
        self.push(&format!("\n],\"omitted\":{omitted}}}\n"));
        self.out
    }

    fn len(&self) -> usize {
        self.out.len()
    }
}

/// Writes a character as an escape if it needs one (RFC 8259 §7), and returns whether it does.
fn escape(char: char, out: &mut Vec<u8>) -> bool {
    let is_escaped = matches!(char, '"' | '\\') || is_deceptive(char);
    if is_escaped {
        for unit in char.encode_utf16(&mut [0; 2]) {
            out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
        }
    }
    is_escaped
}
