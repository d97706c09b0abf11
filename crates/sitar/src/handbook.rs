//! The site that is served when none is named: a small handbook, compiled in.
//!
//! It says only what this version does. It has no scripts and loads nothing from elsewhere, so a
//! page that looks wrong means that the server is wrong.
//!
//! The folder `handbook/` holds what is between `<main>` and `</main>` of each page. The compiler
//! puts it into the frame that all pages share, so the start of the program does nothing for it.

/// The files: path without a leading slash, and contents. Sorted by path.
pub static FILES: &[(&str, &[u8])] = &[
    page!("doctor.html"),
    ("favicon.svg", include_bytes!("handbook/favicon.svg")),
    page!("https.html"),
    page!("index.html"),
    page!("limits.html"),
    page!("measured.html"),
    page!("options.html"),
    page!("pack.html"),
    page!("rules.html"),
    page!("serve.html"),
    ("style.css", include_bytes!("handbook/style.css")),
];

/// The pages in the order of the navigation: file, label there, and title.
const PAGES: &[(&str, &str, &str)] = &[
    ("index.html", "Start", "sitar handbook"),
    ("serve.html", "Serving", "Serving a site · sitar handbook"),
    ("pack.html", "Packs", "Packs · sitar handbook"),
    ("rules.html", "Rules", "Rules of the site · sitar handbook"),
    ("https.html", "HTTPS", "HTTPS on localhost · sitar handbook"),
    ("options.html", "Options", "Options and exit codes · sitar handbook"),
    ("doctor.html", "Doctor", "sitar doctor · sitar handbook"),
    ("limits.html", "Limits", "Limits of this version · sitar handbook"),
    ("measured.html", "Measured", "What is measured · sitar handbook"),
];

/// The frame up to the title.
const BEFORE_TITLE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>"#;

/// The frame between the title and the navigation.
const BEFORE_LINKS: &str = r##"</title>
<link rel="icon" type="image/svg+xml" href="favicon.svg">
<link rel="stylesheet" href="style.css">
</head>
<body>
<a class="skip" href="#content">Skip to the text</a>
<header>
<div class="bar">
<a class="brand" href="index.html"><img src="favicon.svg" alt="" width="30" height="30">sitar</a>
<nav aria-label="Pages">
"##;

/// The frame between the navigation and the page's own content.
const BEFORE_CONTENT: &str = r#"</nav>
</div>
</header>
<main id="content">
"#;

/// The frame behind the content.
const AFTER_CONTENT: &str = "</main>
<footer>This handbook is part of the program: \
no scripts, no trackers, nothing from elsewhere.</footer>
</body>
</html>
";

/// An entry of [`FILES`]: the content of a page in its frame, made by the compiler.
macro_rules! page {
    ($name:literal) => {{
        const CONTENT: &str = include_str!(concat!("handbook/", $name));
        const LEN: usize = Html::<0>::of($name, CONTENT).len;
        const HTML: [u8; LEN] = Html::<LEN>::of($name, CONTENT).bytes;
        ($name, &HTML)
    }};
}
use page;

/// A page as it is written: its first `N` bytes, and how long all of it is.
struct Html<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Html<N> {
    /// Returns the page with this name. A name that is not in [`PAGES`] does not compile.
    const fn of(name: &str, content: &str) -> Html<N> {
        let mut html = Html { bytes: [0; N], len: 0 };
        html.push(BEFORE_TITLE);
        html.push(PAGES[position(name)].2);
        html.push(BEFORE_LINKS);
        let mut at = 0;
        while at < PAGES.len() {
            html.push("<a href=\"");
            html.push(PAGES[at].0);
            html.push(if at == position(name) { "\" aria-current=\"page\">" } else { "\">" });
            html.push(PAGES[at].1);
            html.push("</a>\n");
            at += 1;
        }
        html.push(BEFORE_CONTENT);
        html.push(content);
        html.push(AFTER_CONTENT);
        html
    }

    /// Adds a text; what has no room in `bytes` is only counted.
    const fn push(&mut self, text: &str) {
        let mut at = 0;
        while at < text.len() {
            if self.len < N {
                self.bytes[self.len] = text.as_bytes()[at];
            }
            self.len += 1;
            at += 1;
        }
    }
}

/// Returns the place of a name in [`PAGES`].
const fn position(name: &str) -> usize {
    let mut at = 0;
    while !is_same(PAGES[at].0.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

/// Tells whether two strings are equal: `==` is not yet for constants.
const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    loop {
        match (one, other) {
            ([a, rest @ ..], [b, others @ ..]) if *a == *b => (one, other) = (rest, others),
            ([], []) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::CommandLine;

    fn text(path: &str) -> &'static str {
        let (_, bytes) = FILES.iter().find(|(name, _)| *name == path).unwrap();
        std::str::from_utf8(bytes).unwrap()
    }

    fn pages() -> impl Iterator<Item = (&'static str, &'static str)> {
        FILES.iter().filter(|(name, _)| name.ends_with(".html")).map(|(name, _)| (*name, text(name)))
    }

    /// The values of an attribute, in order.
    fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
        html.split(&format!(" {attribute}=\"")).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/handbook");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn links_lead_to_pages_that_exist_and_nothing_comes_from_elsewhere() {
        for (page, html) in pages() {
            let links = [values(html, "href"), values(html, "src")].concat();
            assert!(links.len() > 8, "{page}");
            for link in links {
                let (file, id) = link.split_once('#').map_or((link, None), |(file, id)| (file, Some(id)));
                let there = if file.is_empty() {
                    Some(html)
                } else {
                    // A picture has no places to lead to.
                    FILES
                        .iter()
                        .find(|(name, _)| *name == file)
                        .map(|(_, bytes)| std::str::from_utf8(bytes).unwrap_or(""))
                };
                let leads_somewhere =
                    there.is_some_and(|html| id.is_none_or(|id| values(html, "id").contains(&id)));
                assert!(leads_somewhere, "{page}: {link}");
            }
            assert!(!html.contains("<script") && !html.contains(" style="), "{page}");
        }
        let css = text("style.css");
        assert!(!css.contains("url(") && !css.contains("@import"));
    }

    #[test]
    fn every_page_is_whole_and_fit_for_a_phone() {
        for (page, html) in pages() {
            assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"), "{page}");
            assert!(html.ends_with("</html>\n"), "{page}");
            assert!(
                html.contains("name=\"viewport\" content=\"width=device-width, initial-scale=1\""),
                "{page}"
            );
            assert!(html.contains("<link rel=\"icon\""), "{page}");
            assert_eq!(html.matches("<h1>").count(), 1, "{page}");
            assert_eq!(html.matches("aria-current=\"page\"").count(), 1, "{page}");
            for (other, label, _) in PAGES {
                let current = if page == *other { " aria-current=\"page\"" } else { "" };
                assert!(
                    html.contains(&format!("<a href=\"{other}\"{current}>{label}</a>\n")),
                    "{page}: {other}"
                );
            }
            for tag in ["a", "code", "div", "h2", "li", "main", "nav", "p", "pre", "table", "td", "tr", "ul"]
            {
                let open =
                    html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
                assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{page}: <{tag}>");
            }
        }
    }

    /// The items of the lists in a text in Markdown, as the handbook's page would have them.
    fn items(markdown: &str) -> Vec<String> {
        let items = markdown.split("\n- ").skip(1).map(|item| item.split("\n\n").next().unwrap());
        items.map(words).collect()
    }

    /// The words, with one space between two of them, without the marks of Markdown and HTML.
    fn words(text: &str) -> String {
        let text = text.replace('`', "").replace("<code>", "").replace("</code>", "").replace("&amp;", "&");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_documents_and_the_handbook_list_the_same_limits() {
        let page = text("limits.html");
        let of_the_page: Vec<String> = page
            .split("<main")
            .nth(1)
            .unwrap()
            .split("<li>")
            .skip(1)
            .map(|item| words(item.split("</li>").next().unwrap()))
            .collect();
        assert!(of_the_page.len() > 20, "{}", of_the_page.len());
        let whole = include_str!("../../../docs/limits.md");
        assert_eq!(of_the_page, items(whole));
        // The README has some of them, word for word.
        let readme = include_str!("../../../README.md");
        let (_, some) = readme.split_once("## Not for you if\n").unwrap();
        let (some, _) = some.split_once("\n## ").unwrap();
        let some = items(some);
        assert!(some.len() >= 5, "{}", some.len());
        assert!(some.iter().all(|item| of_the_page.contains(item)), "{some:?}");
    }

    #[test]
    fn every_flag_and_variable_is_explained() {
        let options = text("options.html");
        let command = CommandLine::command();
        let serve = command.find_subcommand("serve").unwrap();
        for argument in serve.get_arguments().filter(|argument| argument.get_id() != "path") {
            let flag = format!("<code>--{}", argument.get_long().unwrap());
            let is_there = |end| options.contains(&format!("{flag}{end}"));
            assert!(is_there(" ") || is_there("</code>"), "{flag}");
            // The one flag without a variable.
            let Some(variable) = argument.get_env() else {
                assert_eq!(flag, "<code>--config");
                continue;
            };
            let variable = format!("<code>{}</code>", variable.to_str().unwrap());
            assert!(options.contains(&variable), "{variable}");
        }
        let packs = text("pack.html");
        for argument in command.find_subcommand("pack").unwrap().get_arguments() {
            let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else { continue };
            assert!(packs.contains(&format!("<code>--{flag}")), "{flag}");
            assert!(packs.contains(&format!("<code>{}</code>", variable.to_str().unwrap())), "{variable:?}");
        }
        for verb in command.get_subcommands() {
            assert!(options.contains(&format!("<code>sitar {}", verb.get_name())), "{}", verb.get_name());
        }
    }
}
