//! The links of a style sheet: `url(…)` and `@import "…"`, as tokens of CSS Syntax Level 3 and not
//! by searching for text.

use super::link::{Link, Use, line_of};

/// Collects the links of a style sheet; its first line is `before + 1`.
pub(super) fn links(bytes: &[u8], before: u32, out: &mut Vec<Link>) {
    let mut scan = Scan { bytes, at: 0 };
    let mut importing = false;
    // The name of something, which is not loaded (CSS Namespaces 3 §3).
    let mut naming = false;
    // How deep in parentheses, and where in them an `image-set()` began, whose strings are
    // addresses (CSS Images 4 §2.4).
    let (mut depth, mut set_at) = (0_u32, None);
    let (mut line, mut counted) = (before + 1, 0);
    while let Some(&byte) = bytes.get(scan.at) {
        let start = scan.at;
        let mut found = None;
        match byte {
            b'/' if scan.rest().starts_with(b"/*") => scan.comment(),
            b'"' | b'\'' => {
                let text = scan.string();
                found = (importing || set_at == Some(depth)).then_some(text);
                importing = false;
            }
            b'@' => {
                scan.at += 1;
                let name = scan.name();
                importing = name.eq_ignore_ascii_case(b"import");
                naming = name.eq_ignore_ascii_case(b"namespace");
            }
            b';' | b'{' | b'}' => {
                scan.at += 1;
                (importing, naming) = (false, false);
                // Whatever was not closed ends with the declaration.
                (depth, set_at) = (0, None);
            }
            b'(' => {
                scan.at += 1;
                depth += 1;
            }
            b')' => {
                scan.at += 1;
                set_at = set_at.filter(|&at| at != depth);
                depth = depth.saturating_sub(1);
            }
            _ if is_name(byte) => {
                let name = scan.name();
                if name.eq_ignore_ascii_case(b"url") && scan.rest().first() == Some(&b'(') {
                    scan.at += 1;
                    let url = scan.url();
                    found = (!naming).then_some(url);
                    importing = false;
                } else if is_image_set(name) && scan.rest().first() == Some(&b'(') {
                    set_at = Some(depth + 1);
                }
            }
            b'\\' => scan.at += 2,
            _ => scan.at += 1,
        }
        if let Some(target) = found {
            line += line_of(&bytes[counted..start]);
            counted = start;
            out.push(Link { target, using: Use::Load, line });
        }
    }
}

struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Scan<'b> {
    fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn comment(&mut self) {
        let end = self.rest()[2..].windows(2).position(|two| two == b"*/");
        self.at = end.map_or(self.bytes.len(), |end| self.at + 2 + end + 2);
    }

    fn name(&mut self) -> &'b [u8] {
        let rest = self.rest();
        let len = rest.iter().take_while(|&&byte| is_name(byte)).count();
        self.at += len;
        &rest[..len]
    }

    /// A string in quotes, which ends at the end of its line if it has no other.
    fn string(&mut self) -> Vec<u8> {
        let quote = self.rest()[0];
        self.at += 1;
        let mut text = Vec::new();
        while let Some(&byte) = self.rest().first() {
            self.at += 1;
            match byte {
                _ if byte == quote => break,
                b'\n' => break,
                b'\\' => self.escape(&mut text),
                _ => text.push(byte),
            }
        }
        text
    }

    /// Reads the address behind `url(`, quoted or not.
    fn url(&mut self) -> Vec<u8> {
        self.at += self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let mut text = Vec::new();
        if matches!(self.rest().first(), Some(b'"' | b'\'')) {
            text = self.string();
        }
        while let Some(&byte) = self.rest().first() {
            self.at += 1;
            match byte {
                b')' => break,
                b'\\' => self.escape(&mut text),
                _ if byte.is_ascii_whitespace() => {}
                _ => text.push(byte),
            }
        }
        text
    }

    fn escape(&mut self, text: &mut Vec<u8>) {
        let rest = self.rest();
        let digits = rest.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits == 0 {
            // A line's end is continued, anything else stands for itself.
            text.extend(rest.first().filter(|&&byte| byte != b'\n'));
            self.at += 1;
            return;
        }
        let number =
            std::str::from_utf8(&rest[..digits]).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
        let character = number.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += digits + usize::from(rest.get(digits).is_some_and(u8::is_ascii_whitespace));
    }
}

fn is_image_set(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"image-set") || name.eq_ignore_ascii_case(b"-webkit-image-set")
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | 0x80..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_loaded() {
        let css = "/* url(no.png) */\n@import 'a.css' screen;\n@import url(\"b.css\");\n\
            x { content: 'url(no)'; background: URL( c\\ d.png ) , url('e\\27 f.png'); }\n@font-face{src:url(data:a;b)}\n\
            @charset \"no\"; .curl(no) y{cursor:url()}\nz{a:url(unfinished";
        let mut out = Vec::new();
        links(css.as_bytes(), 10, &mut out);
        let found: Vec<_> =
            out.iter().map(|link| (String::from_utf8_lossy(&link.target).into_owned(), link.line)).collect();
        let expected = [
            ("a.css", 12),
            ("b.css", 13),
            ("c d.png", 14),
            ("e'f.png", 14),
            ("data:a;b", 15),
            ("", 16),
            ("unfinished", 17),
        ];
        assert_eq!(found, expected.map(|(target, line)| (target.to_owned(), line)));
    }

    #[test]
    fn names_are_not_loaded_and_strings_of_image_sets_are() {
        let css = "@namespace url(http://www.w3.org/1999/xhtml);@namespace svg 'http://www.w3.org/2000/svg';\n\
            a{b:image-set('a.png' 1x, url(b.png) 2x, \"c.avif\" type(\"image/avif\"));c:'no'}\n\
            d{e:-WebKit-Image-Set(linear-gradient(red,blue) 1x,'d.png' 2x);content:counter(x,'no')}f{g:url(e.png)}";
        let mut out = Vec::new();
        links(css.as_bytes(), 0, &mut out);
        let found: Vec<_> =
            out.iter().map(|link| (String::from_utf8_lossy(&link.target).into_owned(), link.line)).collect();
        let expected = [("a.png", 2), ("b.png", 2), ("c.avif", 2), ("d.png", 3), ("e.png", 3)];
        assert_eq!(found, expected.map(|(target, line)| (target.to_owned(), line)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), css in "[\\\\'\"url()@import/*; \n]{0,60}") {
            links(&bytes, 0, &mut Vec::new());
            links(css.as_bytes(), 0, &mut Vec::new());
        }
    }
}
