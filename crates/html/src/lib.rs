#![forbid(unsafe_code)]
//! The tokens of a page (HTML Living Standard §13.2.5).
//!
//! A crate of its own because `html5gum` is generic over its readers and emitters: whoever calls it compiles all of it, and
//! again with its own tests.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token as Raw, Tokenizer};
use std::ops::ControlFlow;

/// A part of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Token<'t> {
    /// `<name attribute=value>`.
    Start {
        /// In lower case.
        name: &'t [u8],
        /// Names in lower case, each once, sorted; values without character references.
        attributes: &'t [(&'t [u8], &'t [u8])],
        /// Bytes of the page before it.
        at: usize,
    },
    /// `</name>`.
    End,
    /// What stands between tags, also in scripts and styles; there it is no markup.
    Text {
        /// Without character references.
        text: &'t [u8],
        /// Bytes of the page before it.
        at: usize,
    },
}

/// Calls `each` for every tag and text of a page, until it breaks. Any bytes are a page.
pub fn tokens(page: &[u8], each: &mut dyn FnMut(Token<'_>) -> ControlFlow<()>) {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    // What stands in scripts and styles is no markup.
    emitter.naively_switch_states(true);
    for token in Tokenizer::new_with_emitter(page, emitter) {
        let Ok(token) = token;
        let flow = match &token {
            Raw::StartTag(tag) => {
                let attributes: Vec<(&[u8], &[u8])> = tag
                    .attributes
                    .iter()
                    .map(|(name, value)| (name.as_slice(), value.value.as_slice()))
                    .collect();
                each(Token::Start { name: &tag.name, attributes: &attributes, at: tag.span.start })
            }
            Raw::EndTag(_) => each(Token::End),
            Raw::String(text) => each(Token::Text { text: &text.value, at: text.span.start }),
            _ => continue,
        };
        if flow.is_break() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(page: &str, most: usize) -> Vec<String> {
        let mut seen = Vec::new();
        tokens(page.as_bytes(), &mut |token| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            seen.push(match token {
                Token::Start { name, attributes, at } => {
                    let attributes: Vec<_> = attributes
                        .iter()
                        .map(|(name, value)| format!("{}={}", text(name), text(value)))
                        .collect();
                    format!("{at}<{}>{}", text(name), attributes.join(","))
                }
                Token::End => "/".to_owned(),
                Token::Text { text: bytes, at } => format!("{at}'{}'", text(bytes)),
            });
            if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        seen
    }

    #[test]
    fn tags_and_texts() {
        let page = "<!doctype html><A HREF='x?a&amp;b' href=no ID=1>t</a><!-- <b> --><script>'<i>'</script>";
        assert_eq!(seen(page, 99), ["15<a>href=x?a&b,id=1", "48't'", "/", "65<script>", "73''<i>''", "/"]);
        assert_eq!(seen(page, 2), ["15<a>href=x?a&b,id=1", "48't'"]);
        assert_eq!(seen("", 99), [""; 0]);
    }
}
