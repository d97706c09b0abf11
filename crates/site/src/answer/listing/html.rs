//! A listing as a page: one table, without a script, readable in any size, light or dark.

use super::text::{is_deceptive, push_text, push_url};
use super::{Kind, Row, Write};
use sitar_http::date::write_rfc3339;

#[derive(Default)]
pub(super) struct Html {
    out: Vec<u8>,
}

/// The system's colours, which have enough contrast in both schemes.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;font-family:system-ui,sans-serif;line-height:1.5}\
body{margin:1.5rem auto;max-width:60rem;padding:0 1rem}\
h1{font-size:1.4rem}\
h1,a{overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}\
caption{text-align:start;padding:.3rem .6rem}\
th,td{text-align:start;padding:.2rem .6rem;border-bottom:1px solid GrayText}\
th+th,td+td{text-align:end;white-space:nowrap;font-variant-numeric:tabular-nums}\
code{border:1px solid;padding:0 .2em;font-size:.8em}";

impl Html {
    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a name. Deceptive characters stand as their numbers.
    fn push_name(&mut self, name: &[u8]) {
        self.push("<bdi>");
        push_text(name, &mut self.out, |char, out| {
            let is_shown = is_deceptive(char);
            if is_shown {
                out.extend_from_slice(format!("<code>U+{:04X}</code>", u32::from(char)).as_bytes());
            }
            is_shown || escape(char, out)
        });
        self.push("</bdi>");
    }

    /// Appends a folder's address for a place where there can be no markup.
    fn push_title(&mut self, folder: &[u8]) {
        push_text(folder, &mut self.out, |char, out| {
            let is_replaced = is_deceptive(char);
            if is_replaced {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
            is_replaced || escape(char, out)
        });
    }

    fn push_facts(&mut self, size: Option<u64>, modified: Option<u64>) {
        self.push("</td><td>");
        if let Some(size) = size {
            self.push(&size_text(size));
        }
        self.push("</td><td>");
        if let Some(modified) = modified {
            let time = write_rfc3339(modified);
            self.out.extend_from_slice(&time[..10]);
            self.out.push(b' ');
            self.out.extend_from_slice(&time[11..16]);
        }
    }
}

impl Write for Html {
    fn begin(&mut self, folder: &[u8]) {
        let path = if folder.is_empty() { b"/".to_vec() } else { [b"/", folder, b"/"].concat() };
        self.push(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Index of ",
        );
        self.push_title(&path);
        self.push("</title>\n<style>");
        self.push(STYLE);
        self.push("</style>\n</head>\n<body>\n<main>\n<h1>Index of ");
        self.push_name(&path);
        self.push("</h1>\n");
        if !folder.is_empty() {
            self.push("<p><a href=\"../\">Parent folder</a></p>\n");
        }
        self.push(
            "<table>\n<caption>Folders first, then files, by name. Times are UTC.</caption>\n\
             <thead>\n<tr><th scope=\"col\">Name</th><th scope=\"col\">Size</th>\
             <th scope=\"col\">Modified</th></tr>\n</thead>\n<tbody>\n",
        );
    }

    fn row(&mut self, row: &Row<'_>) {
        let slash = if matches!(row.kind, Kind::Folder) { "/" } else { "" };
        // A name may begin as a scheme does.
        self.push("<tr><td><a href=\"./");
        push_url(row.name, &mut self.out);
        self.push(slash);
        self.push("\">");
        self.push_name(row.name);
        self.push(slash);
        self.push("</a>");
        match row.kind {
            Kind::Folder => self.push_facts(None, None),
            Kind::File { size, modified } => self.push_facts(size, modified),
        }
        self.push("</td></tr>\n");
    }

    fn end(mut self, omitted: usize) -> Vec<u8> {
        self.push("</tbody>\n</table>\n");
        if omitted > 0 {
            self.push(&format!("<p>The list is too long: {omitted} more are not shown.</p>\n"));
        }
        self.push("</main>\n</body>\n</html>\n");
        self.out
    }

    fn len(&self) -> usize {
        self.out.len()
    }
}

/// Writes a character as a reference if it means something in HTML, and returns whether it does.
fn escape(char: char, out: &mut Vec<u8>) -> bool {
    let reference: &[u8] = match char {
        '&' => b"&amp;",
        '<' => b"&lt;",
        '>' => b"&gt;",
        '"' => b"&quot;",
        '\'' => b"&#39;",
        _ => return false,
    };
    out.extend_from_slice(reference);
    true
}

/// A number of bytes for readers: three digits or so, rounded down.
pub(super) fn size_text(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog2() / 10).min(6);
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let name = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit as usize];
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}
