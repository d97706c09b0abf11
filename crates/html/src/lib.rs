//! The tokens of a page (HTML Living Standard §13.2.5).
//!
//! It is a crate of its own because `html5gum` is generic over its readers and emitters: a crate
//! that calls it compiles all of it, and again with its own tests. The level of optimisation is a
//! package's: the parser is made small, and not optimised at all in the dev profile.

use html5gum::emitters::callback::{Callback, CallbackEmitter, CallbackEvent};
use html5gum::emitters::{Emitter, ForwardingEmitter, naive_next_state};
use html5gum::{Error, Span, State, Tokenizer};
use std::ops::{ControlFlow, Range};

/// The syntax of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// HTML: the text of scripts and styles is no markup.
    Html,
    /// XHTML or SVG: elements may close themselves, and scripts and styles are like any other.
    Xml,
}

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
    /// The text between tags, also in scripts and styles; there it is no markup.
    Text {
        /// Without character references.
        text: &'t [u8],
        /// Bytes of the page before it.
        at: usize,
    },
}

/// Calls `each` for every tag and text of a page, until it breaks. Any bytes are a page.
///
/// A page is read as with scripting off, so that what stands in `noscript` is markup.
pub fn tokens(page: &[u8], syntax: Syntax, each: &mut dyn FnMut(Token<'_>) -> ControlFlow<()>) {
    let collector = Collector {
        each,
        bytes: Vec::new(),
        name: 0..0,
        attributes: Vec::new(),
        at: 0,
        foreign: syntax == Syntax::Xml,
        next: None,
        broken: false,
    };
    let reader = Reading { inner: CallbackEmitter::new(collector), syntax };
    // The only token is the one that says that `each` broke.
    let _ = Tokenizer::new_with_emitter(page, reader).next();
}

/// `each` broke.
struct Broken;

/// Puts a tag together. The library's own emitter allocates for each tag and attribute, and looks
/// for errors, which took most of the time of a check.
struct Collector<'e> {
    each: &'e mut dyn FnMut(Token<'_>) -> ControlFlow<()>,
    /// Name and attributes of the tag that is being read.
    bytes: Vec<u8>,
    name: Range<usize>,
    /// Names and values, by their places in `bytes`.
    attributes: Vec<(Range<usize>, Range<usize>)>,
    at: usize,
    /// Inside of SVG or MathML, where tags are those of XML (HTML Living Standard §13.2.6.5).
    foreign: bool,
    /// The tokenizer's state behind the last tag.
    next: Option<State>,
    broken: bool,
}

impl Collector<'_> {
    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn start_tag(&mut self, self_closing: bool) -> ControlFlow<()> {
        let text = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let name = text(&self.name);
        match name {
            b"svg" | b"math" => self.foreign |= !self_closing,
            _ if self.foreign && leaves_foreign(name) => self.foreign = false,
            _ => {}
        }
        if !self.foreign {
            self.next = state_behind(name);
        }
        let mut attributes: Vec<_> =
            self.attributes.iter().map(|(name, value)| (text(name), text(value))).collect();
        // Of two with one name the first counts.
        attributes.sort_by_key(|(name, _)| *name);
        attributes.dedup_by_key(|(name, _)| *name);
        (self.each)(Token::Start { name, attributes: &attributes, at: self.at })
    }
}

impl Callback<Broken, usize> for Collector<'_> {
    fn handle_event(&mut self, event: CallbackEvent<'_>, span: Span<usize>) -> Option<Broken> {
        if self.broken {
            return None;
        }
        let flow = match event {
            CallbackEvent::OpenStartTag { name } => {
                self.bytes.clear();
                self.attributes.clear();
                self.name = self.push(name);
                self.at = span.start;
                return None;
            }
            CallbackEvent::AttributeName { name } => {
                let name = self.push(name);
                self.attributes.push((name, 0..0));
                return None;
            }
            CallbackEvent::AttributeValue { value } => {
                let value = self.push(value);
                if let Some((_, own)) = self.attributes.last_mut() {
                    *own = value;
                }
                return None;
            }
            CallbackEvent::CloseStartTag { self_closing } => self.start_tag(self_closing),
            CallbackEvent::EndTag { name } => {
                // Its attributes mean nothing.
                self.bytes.clear();
                self.attributes.clear();
                self.foreign &= !matches!(name, b"svg" | b"math");
                (self.each)(Token::End)
            }
            CallbackEvent::String { value } => (self.each)(Token::Text { text: value, at: span.start }),
            CallbackEvent::Comment { .. } | CallbackEvent::Doctype { .. } | CallbackEvent::Error(_) => {
                return None;
            }
        };
        self.broken = flow.is_break();
        self.broken.then_some(Broken)
    }
}

/// The library's emitter, but for what decides how a page is read.
struct Reading<'e> {
    inner: CallbackEmitter<Collector<'e>, Broken, usize>,
    syntax: Syntax,
}

impl ForwardingEmitter for Reading<'_> {
    type Token = Broken;

    fn inner(&mut self) -> &mut impl Emitter<Token = Broken> {
        &mut self.inner
    }

    fn emit_error(&mut self, _: Error) {}

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        // The library switches by itself only on request.
        let _ = self.inner.emit_current_tag();
        let collector = self.inner.callback_mut();
        // All of an XML document is foreign, whatever stands in it.
        collector.foreign |= self.syntax == Syntax::Xml;
        let next = collector.next.take().filter(|_| self.syntax == Syntax::Html);
        if next.is_some() {
            self.inner.init_string();
        }
        next
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&mut self) -> bool {
        self.inner.callback_mut().foreign
    }
}

/// Returns the tokenizer's state behind a start tag.
fn state_behind(name: &[u8]) -> Option<State> {
    match name {
        b"noscript" => None,
        // html5gum knows it as `noframe`.
        b"noframes" => Some(State::RawText),
        name => naive_next_state(name),
    }
}

/// Tags of HTML that end SVG or MathML around them, as browsers do: some of those of §13.2.6.5, and
/// where HTML begins again.
fn leaves_foreign(name: &[u8]) -> bool {
    matches!(
        name,
        b"foreignobject"
            | b"body"
            | b"div"
            | b"h1"
            | b"h2"
            | b"h3"
            | b"h4"
            | b"h5"
            | b"h6"
            | b"head"
            | b"img"
            | b"li"
            | b"meta"
            | b"p"
            | b"pre"
            | b"span"
            | b"table"
            | b"ul"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(page: &str, most: usize) -> Vec<String> {
        read(page, Syntax::Html, most)
    }

    fn read(page: &str, syntax: Syntax, most: usize) -> Vec<String> {
        let mut seen = Vec::new();
        tokens(page.as_bytes(), syntax, &mut |token| {
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

    #[test]
    fn what_stands_in_noscript_is_markup_and_in_scripts_it_is_not() {
        assert_eq!(
            seen("<noscript><img src=a></noscript><noframes><a></noframes><b>", 99),
            ["0<noscript>", "10<img>src=a", "/", "32<noframes>", "42'<a>'", "/", "56<b>"]
        );
        // Attributes of an end tag belong to nothing.
        assert_eq!(seen("<p></p id=1><b c>", 99), ["0<p>", "/", "12<b>c="]);
    }

    #[test]
    fn in_svg_elements_close_themselves_and_texts_may_be_cdata() {
        let svg = "<svg><style/><script href='s.js'/><title/><![CDATA[<a>]]></svg>";
        let expected = ["0<svg>", "5<style>", "13<script>href=s.js", "34<title>", "42'<a>'", "/"];
        assert_eq!(seen(&format!("{svg}<script><b></script>"), 99)[..6], expected);
        assert_eq!(seen(&format!("{svg}<script><b></script>"), 99)[6..], ["63<script>", "71'<b>'", "/"]);
        assert_eq!(read(svg, Syntax::Xml, 99), expected);
        assert_eq!(read("<script src='a'/><b/>", Syntax::Xml, 99), ["0<script>src=a", "17<b>"]);
        // It is never closed, and HTML goes on.
        assert_eq!(seen("<svg><p><style><a></style>", 99), ["0<svg>", "5<p>", "8<style>", "15'<a>'", "/"]);
    }
}
