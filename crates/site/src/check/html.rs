//! What a page links to and loads.

use super::css;
use super::link::{Link, Use, line_of};
use sitar_html::Token;
use std::ops::ControlFlow;

/// Collects the links of a page.
pub(super) fn links(bytes: &[u8], out: &mut Vec<Link>) {
    let mut line = Lines { bytes, at: 0, line: 1 };
    let mut in_style = false;
    sitar_html::tokens(bytes, &mut |token| {
        match token {
            Token::Start { name, attributes, at } => {
                in_style = name == b"style";
                let line = line.of(at);
                let rel =
                    attributes.iter().find(|(own, _)| *own == b"rel").map_or(&b""[..], |(_, value)| value);
                let rel = rel.to_ascii_lowercase();
                for (own, value) in attributes {
                    collect(name, own, value, &rel, line, out);
                }
            }
            Token::Text { text, at } if in_style => css::links(text, line.of(at) - 1, out),
            Token::Text { .. } => {}
            Token::End => in_style = false,
        }
        if out.len() >= LINKS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

fn collect(tag: &[u8], name: &[u8], value: &[u8], rel: &[u8], line: u32, out: &mut Vec<Link>) {
    let target = |using| Link { target: value.to_vec(), using, line };
    match (tag, name) {
        (b"base", b"href") => out.push(target(Use::Base)),
        (b"a" | b"area", b"href") => out.push(target(Use::Visit)),
        (b"link", b"href") => {
            // Hints and relations are not loaded, and may well be elsewhere.
            let words = || rel.split(u8::is_ascii_whitespace);
            let loads: [&[u8]; 7] = [
                b"stylesheet",
                b"icon",
                b"preload",
                b"modulepreload",
                b"prefetch",
                b"manifest",
                b"apple-touch-icon",
            ];
            let using = if words().any(|word| loads.contains(&word)) { Use::Load } else { Use::Visit };
            if !words().any(|word| matches!(word, b"preconnect" | b"dns-prefetch")) {
                out.push(target(using));
            }
        }
        (
            b"script" | b"img" | b"iframe" | b"source" | b"track" | b"embed" | b"audio" | b"video" | b"input",
            b"src",
        )
        | (b"video", b"poster")
        | (b"object", b"data")
        | (b"image" | b"use", b"href" | b"xlink:href") => out.push(target(Use::Load)),
        (b"img" | b"source", b"srcset") | (b"link", b"imagesrcset") => {
            for candidate in candidates(value) {
                out.push(Link { target: candidate.to_vec(), using: Use::Load, line });
            }
        }
        (_, b"style") => css::links(value, line - 1, out),
        _ => {}
    }
}

/// The addresses in a `srcset`: each ends at white space, and a comma behind it or behind its descriptor separates.
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
        links(html.as_bytes(), &mut out);
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
