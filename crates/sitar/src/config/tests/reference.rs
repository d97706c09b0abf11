//! docs/configuration.md lists the keys as the definitions do.

use std::fmt::Write as _;

use super::keys::{ACME, AUTHORITY, EAB, OPTIONS};
use super::keys::{ADMIN, CERTIFICATE, FILE, Form, Key, LISTEN, LOG, PAGES, SAMPLE, SERVER, SITE, Table};

const PAGE: &str = include_str!("../../../../../docs/configuration.md");
/// The most columns of a line.
const WIDTH: usize = 100;

/// Returns the part of the page that is made of the definitions.
fn reference() -> String {
    let mut text = String::new();
    let file = "At the top of the file, before the first table.";
    for (heading, doc, table) in [
        ("The file", file, &FILE),
        ("`[server]`", SERVER.doc, &SERVER),
        ("`[[listen]]`", LISTEN.doc, &LISTEN),
        ("`[[site]]`", SITE.doc, &SITE),
        ("`certificate`", CERTIFICATE.doc, &CERTIFICATE),
        ("`pages`", PAGES.doc, &PAGES),
        ("`[acme]`", ACME.doc, &ACME),
        ("`[[acme.authority]]`", AUTHORITY.doc, &AUTHORITY),
        ("`eab`", EAB.doc, &EAB),
        ("`acme` of a site", OPTIONS.doc, &OPTIONS),
        ("`[log]`", LOG.doc, &LOG),
        ("`sample`", SAMPLE.doc, &SAMPLE),
        ("`[admin]`", ADMIN.doc, &ADMIN),
    ] {
        let _ = writeln!(text, "### {heading}\n\n{}", wrapped("", doc));
        for key in keys_of(table) {
            text += &wrapped("- ", &item(key));
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The keys that are no tables of their own.
fn keys_of(table: &'static Table) -> impl Iterator<Item = &'static Key> {
    let is_header = |key: &&Key| matches!(key.form, Form::Table(inner) | Form::Tables(inner, _) if inner.name.starts_with('['));
    table.keys.iter().filter(move |key| !is_header(key))
}

fn item(key: &Key) -> String {
    let words = match key.form {
        Form::Word(words) if words().len() > 1 => {
            let words: Vec<String> =
                words().iter().map(|(word, meaning)| format!("`\"{word}\"` ({meaning})")).collect();
            format!(" One of: {}.", words.join("; "))
        }
        Form::Numbers(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!(" One of {}.", numbers.join(", "))
        }
        Form::Number(least, most) => format!(" From {least} to {most}."),
        _ => String::new(),
    };
    let default = key.default.map_or_else(String::new, |default| format!(" Default: `{default}`."));
    let flag = key.setting.map_or_else(String::new, |name| format!(" Flag: `--{name}`."));
    format!(
        "**`{}`**: {}{words}{default} Example: `{} = {}`.{flag}",
        key.name, key.doc, key.name, key.example
    )
}

/// Returns prose in lines, those of an item indented.
fn wrapped(start: &str, prose: &str) -> String {
    let indent = " ".repeat(start.len());
    let (mut text, mut line) = (String::new(), start.to_owned());
    for word in words(prose) {
        if line.trim_end().len() > indent.len() && line.chars().count() + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line.clone_from(&indent);
        }
        line += &word;
        line.push(' ');
    }
    let _ = writeln!(text, "{}", line.trim_end());
    text
}

/// Returns the words of a text; code in backticks is one.
fn words(prose: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in prose.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.matches('`').count() % 2 == 1 => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[test]
fn the_page_lists_the_keys_as_they_are_defined() {
    let (_, rest) = PAGE.split_once("\n## Keys\n\n").unwrap();
    let listed = rest.split("\n## ").next().unwrap().trim_end();
    let reference = reference();
    assert!(listed == reference, "docs/configuration.md has below \"Keys\":\n{reference}");
}
