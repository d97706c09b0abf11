//! The links of a page.

use super::css;
use super::link::{Link, Use, line_of};
use sitar_html::{Syntax, Token};
use std::ops::ControlFlow;

/// Collects the links of a page.
pub(super) fn links(bytes: &[u8], syntax: Syntax, out: &mut Vec<Link>) {
    collect(bytes, syntax, 0, true, out);
}

/// `before`: lines that stand before the first one. `is_page`: it is no part of another page.
fn collect(bytes: &[u8], syntax: Syntax, before: u32, is_page: bool, out: &mut Vec<Link>) {
    let mut line = Lines { bytes, at: 0, line: before + 1 };
    let mut in_style = false;
    sitar_html::tokens(bytes, syntax, &mut |token| {
        match token {
            Token::Start { name, attributes, at } => {
                in_style = name == b"style";
                Tag { name, attributes, line: line.of(at) }.links(is_page, out);
            }
            Token::Text { text, at } if in_style => css::links(text, line.of(at) - 1, out),
            Token::Text { .. } => {}
            Token::End => in_style = false,
        }
        if out.len() >= LINKS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

struct Tag<'t> {
    name: &'t [u8],
    attributes: &'t [(&'t [u8], &'t [u8])],
    line: u32,
}

impl<'t> Tag<'t> {
    fn attribute(&self, wanted: &[u8]) -> &'t [u8] {
        self.attributes.iter().find(|(name, _)| *name == wanted).map_or(b"", |(_, value)| value)
    }

    fn links(&self, is_page: bool, out: &mut Vec<Link>) {
        for &(name, value) in self.attributes {
            let push = |using, out: &mut Vec<Link>| {
                out.push(Link { target: value.to_vec(), using, line: self.line });
            };
            match (self.name, name) {
                (b"base", b"href") if is_page => push(Use::Base, out),
                (b"a" | b"area", b"href") | (b"a", b"xlink:href") => push(Use::Visit, out),
                // Texts elsewhere that a page is about: not loaded with it.
                (b"blockquote" | b"q" | b"ins" | b"del", b"cite")
                | (b"img" | b"iframe" | b"frame", b"longdesc") => push(Use::Visit, out),
                (b"link", b"href") => {
                    if let Some(using) = relation(self.attribute(b"rel")) {
                        push(using, out);
                    }
                }
                (b"meta", b"content") if self.attribute(b"http-equiv").eq_ignore_ascii_case(b"refresh") => {
                    if let Some(target) = refresh(value) {
                        out.push(Link { target: target.to_vec(), using: Use::Visit, line: self.line });
                    }
                }
                (b"input", b"src") if !self.attribute(b"type").eq_ignore_ascii_case(b"image") => {}
                (
                    b"script" | b"img" | b"iframe" | b"frame" | b"source" | b"track" | b"embed" | b"audio"
                    | b"video" | b"input",
                    b"src",
                )
                | (b"video", b"poster")
                | (b"object", b"data")
                | (b"body" | b"table" | b"tr" | b"td" | b"th", b"background")
                | (b"image" | b"use" | b"feimage" | b"script", b"href")
                | (_, b"xlink:href") => push(Use::Load, out),
                (b"img" | b"source", b"srcset") | (b"link", b"imagesrcset") => {
                    for candidate in candidates(value) {
                        let target = candidate.to_vec();
                        out.push(Link { target, using: Use::Load, line: self.line });
                    }
                }
                // A page in an attribute, once: what is nested deeper would cost its size over and
                // over.
                (b"iframe", b"srcdoc") if is_page => collect(value, Syntax::Html, self.line - 1, false, out),
                (_, b"style") => css::links(value, self.line - 1, out),
                _ => {}
            }
        }
    }
}

/// Returns the use of the target of a `link`; `None`: nothing is fetched there.
fn relation(rel: &[u8]) -> Option<Use> {
    const LOADS: [&[u8]; 11] = [
        b"stylesheet",
        b"icon",
        b"mask-icon",
        b"preload",
        b"modulepreload",
        b"prefetch",
        b"prerender",
        b"manifest",
        b"apple-touch-icon",
        b"apple-touch-icon-precomposed",
        b"apple-touch-startup-image",
    ];
    let is = |word: &[u8], wanted: &[u8]| word.eq_ignore_ascii_case(wanted);
    let words = || rel.split(u8::is_ascii_whitespace);
    // Hints, which name another host.
    if words().any(|word| is(word, b"preconnect") || is(word, b"dns-prefetch")) {
        return None;
    }
    let loads = words().any(|word| LOADS.iter().any(|wanted| is(word, wanted)));
    // Other relations are not loaded, and may well be elsewhere.
    Some(if loads { Use::Load } else { Use::Visit })
}

/// The address in the content of `<meta http-equiv=refresh>` (HTML Living Standard §4.2.5.3,
/// "shared declarative refresh steps"); `None`: the page itself.
fn refresh(content: &[u8]) -> Option<&[u8]> {
    let rest = content.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let rest = rest.get(digits..).filter(|_| digits > 0)?;
    let behind = rest.trim_ascii_start();
    let behind = behind.strip_prefix(b";").or_else(|| behind.strip_prefix(b",")).unwrap_or(behind);
    // Something must separate the time from the address.
    let mut url = behind.trim_ascii();
    if behind.len() == rest.len() || url.is_empty() {
        return None;
    }
    if let Some((word, equals)) = url.split_at_checked(3)
        && word.eq_ignore_ascii_case(b"url")
        && let Some(value) = equals.trim_ascii_start().strip_prefix(b"=")
    {
        url = value.trim_ascii_start();
    }
    match url.split_first() {
        Some((quote @ (b'"' | b'\''), quoted)) => quoted.split(|byte| byte == quote).next(),
        _ => Some(url),
    }
}

/// The addresses in a `srcset`: each ends at white space, and a comma behind it or behind its
/// descriptor separates.
fn candidates(value: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = value;
    loop {
        let start = rest.iter().position(|&byte| !byte.is_ascii_whitespace() && byte != b',');
        let Some(start) = start else { return found };
        rest = &rest[start..];
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        let (address, behind) = rest.split_at(end);
        let commas = address.iter().rev().take_while(|&&byte| byte == b',').count();
        found.push(&address[..address.len() - commas]);
        rest = match behind.iter().position(|&byte| byte == b',') {
            // The comma ended the address; what follows is the next one.
            _ if commas > 0 => behind,
            Some(comma) => &behind[comma + 1..],
            None => return found,
        };
    }
}

/// Turns growing offsets into lines.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: u32,
}

impl Lines<'_> {
    fn of(&mut self, offset: usize) -> u32 {
        if offset > self.at {
            self.line += line_of(self.bytes.get(self.at..offset).unwrap_or_default());
            self.at = offset;
        }
        self.line
    }
}

/// Links of one page that are followed: each costs memory until the page is done.
const LINKS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> Vec<(String, Use, u32)> {
        let mut out = Vec::new();
        links(html.as_bytes(), Syntax::Html, &mut out);
        out.into_iter().map(|link| (String::from_utf8(link.target).unwrap(), link.using, link.line)).collect()
    }

    #[test]
    fn everything_that_links() {
        let html = "<!doctype html>\n<base href=/x/>\n<a href='a.html?x&amp;y'>\n<link rel='icon shortcut' href=i.png>\n\
            <link rel=canonical href=http://e/><link rel=preconnect href=http://f/>\n<img src=\"1.png\" srcset='2.png 2x, 3.png, 4.png 100w'>\n\
            <script src=s.js>'<a href=no>'</script>\n<style>\n@import 'b.css';\nx{background:url(c.png)}</style><p style=\"background:url('d.png')\">\n\
            <!-- <a href=no> --><video src=v.mp4 poster=p.jpg></video><textarea><a href=no></textarea><svg><use xlink:href=\"s.svg#a\"/></svg>";
        let expected = [
            ("/x/", Use::Base, 2),
            ("a.html?x&y", Use::Visit, 3),
            ("i.png", Use::Load, 4),
            ("http://e/", Use::Visit, 5),
            ("1.png", Use::Load, 6),
            ("2.png", Use::Load, 6),
            ("3.png", Use::Load, 6),
            ("4.png", Use::Load, 6),
            ("s.js", Use::Load, 7),
            ("b.css", Use::Load, 9),
            ("c.png", Use::Load, 10),
            ("d.png", Use::Load, 10),
            ("p.jpg", Use::Load, 11),
            ("v.mp4", Use::Load, 11),
            ("s.svg#a", Use::Load, 11),
        ];
        assert_eq!(found(html), expected.map(|(target, using, line)| (target.to_owned(), using, line)));
    }

    #[test]
    fn more_that_links() {
        let html = "<meta http-equiv=Refresh content='0; url=next.html'>\n<noscript><img src=n.png></noscript>\n\
            <input src=no><input type=IMAGE src=i.png><frame src=f.html><body background=b.png><object data=o.pdf></object>\n\
            <area href=area><q cite=q.html><img longdesc=l.html><link rel=Mask-Icon href=m.svg><link rel=DNS-Prefetch href=no>\n\
            <svg><a xlink:href=a.html><style/><image href=x.png /><feImage xlink:href=fe.png /><script href=s.js /></svg>\n\
            <template><img src=t.png></template><iframe srcdoc=\"<base href=no><a href=d.html>\n<img src=e.png>\"></iframe>\n\
            <source srcset='a.avif 1x, b.avif 2x'><link rel=preload imagesrcset=c.avif><track src=v.vtt><p style='a:url(z.png)'>\n\
            <form action=/api><button formaction=/api></form><meta name=refresh content='0; url=no'>";
        let expected = [
            ("next.html", Use::Visit, 1),
            ("n.png", Use::Load, 2),
            ("i.png", Use::Load, 3),
            ("f.html", Use::Load, 3),
            ("b.png", Use::Load, 3),
            ("o.pdf", Use::Load, 3),
            ("area", Use::Visit, 4),
            ("q.html", Use::Visit, 4),
            ("l.html", Use::Visit, 4),
            ("m.svg", Use::Load, 4),
            ("a.html", Use::Visit, 5),
            ("x.png", Use::Load, 5),
            ("fe.png", Use::Load, 5),
            ("s.js", Use::Load, 5),
            ("t.png", Use::Load, 6),
            ("d.html", Use::Visit, 6),
            ("e.png", Use::Load, 7),
            ("a.avif", Use::Load, 8),
            ("b.avif", Use::Load, 8),
            ("c.avif", Use::Load, 8),
            ("v.vtt", Use::Load, 8),
            ("z.png", Use::Load, 8),
        ];
        assert_eq!(found(html), expected.map(|(target, using, line)| (target.to_owned(), using, line)));
    }

    #[test]
    fn addresses_of_a_refresh() {
        for (content, expected) in [
            ("0; url=a.html", Some("a.html")),
            ("5;URL='a b.html' and more", Some("a b.html")),
            (" 0 , url = \"a.html\"", Some("a.html")),
            ("1.5;a.html", Some("a.html")),
            ("0 a.html", Some("a.html")),
            ("0;url", Some("url")),
            ("0;urls/a", Some("urls/a")),
            ("30", None),
            ("30;", None),
            ("0;url=", Some("")),
            ("; url=a.html", None),
            ("0a.html", None),
            ("", None),
        ] {
            let found = refresh(content.as_bytes()).map(|bytes| std::str::from_utf8(bytes).unwrap());
            assert_eq!(found, expected, "{content}");
        }
    }

    #[test]
    fn candidates_of_a_set() {
        for (set, expected) in [
            ("a.png", &["a.png"][..]),
            ("a.png, b.png 2x", &["a.png", "b.png"]),
            (" a.png 1x,b.png 2x , ", &["a.png", "b.png"]),
            ("data:image/png;base64,AA== 1x, b.png", &["data:image/png;base64,AA==", "b.png"]),
            ("", &[]),
            (",,", &[]),
        ] {
            let found: Vec<_> = candidates(set.as_bytes())
                .into_iter()
                .map(|bytes| std::str::from_utf8(bytes).unwrap())
                .collect();
            assert_eq!(found, expected, "{set}");
        }
    }
}
