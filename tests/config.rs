//! `sitar config`, and any bytes as a configuration. Any bytes in an access log and in an event are
//! here as well.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::common::{Finished, run_with, sitar};
use crate::mutation;

mutation::targets! {
    access_log: sitar::log::format::properties::access_log, LOG;
    caa_answer: sitar::cert::properties::caa_answer, DNS;
    config: sitar::config::properties::config, CONFIG;
    events: sitar::events::properties::event_lines, EVENT;
}

/// Of an answer: flags, ends of names, heads of records.
const DNS: &[&[u8]] = &[
    b"\x81\x80",
    b"\x83\x80",
    b"\xc0\x0c",
    b"\xc0\xff",
    b"\x3f",
    b"\x01\x01\0\x01",
    b"\x80\x05issue",
    b"\0\x09issuewild",
    b"\0\xff",
    b";",
];

const EVENT: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\x1b[2K",
    b"\0",
    b"\"",
    b"\\",
    b"\"},{\"level\":\"error\"",
    b"<3>sitar: ",
    b"\xff",
    "\u{2028}\u{85}".as_bytes(),
    "…".as_bytes(),
];

const CONFIG: &[&[u8]] = &[
    b"[server]\n",
    b"[[listen]]\n",
    b"[[site]]\n",
    b"[admin]\n",
    b"[site.pages]\n",
    b"include = ",
    b"address = ",
    b"redirect = \"https\"\n",
    b"tls = \"off\"\n",
    b"hosts = ",
    b"root = \"x\"\n",
    b"redirect_to = \"https://a.example\"\n",
    b"certificate = ",
    b"{ chain = \"a\", key = \"b\" }",
    b"\"local\"",
    b"canonical = ",
    b"hsts = \"max-age=1\"\n",
    b"default = true\n",
    b"memory = ",
    b"socket = ",
    b"\":443\"",
    b"\"[::1]:443\"",
    b"\"localhost\"",
    b"\"*.localhost\"",
    b"true",
    b"false",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"'''",
    b"\"\"\"",
    b"\n",
    b"\r\n",
    b",",
    b"=",
    b".",
    b"#",
    b"\\u0000",
    b"\\",
    b"\xc3\xbc",
    b"\xff",
    b"2030-01-31",
    b"1e9",
    b"0x10",
    b"-1",
    b"18446744073709551616",
];

const LOG: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\n",
    b"\r",
    b"\\x22",
    b"\",\"status\":200",
    b"\" 200 1\n",
    b"\x7f",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b" ",
    b"-",
];

/// Runs `sitar config` in a folder.
fn config(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = sitar(folder);
    command.current_dir(folder).arg("config").args(arguments).envs(variables.iter().copied());
    run_with(&mut command, b"")
}

#[test]
fn a_configuration_is_written_checked_and_shown() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("public")).unwrap();
    fs::write(folder.join("public/index.html"), "hello").unwrap();

    let written = config(folder, &["init"], &[]);
    assert_eq!(written.status.code(), Some(0), "{}", written.stderr);
    assert_eq!(written.text(), "sitar.toml written; edit it, then: sitar config check sitar.toml\n");
    let text = fs::read_to_string(folder.join("sitar.toml")).unwrap();
    assert_eq!(config(folder, &["init", "-"], &[]).text(), text);
    // Never over one that is there.
    let refused = config(folder, &["init"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("sitar.toml is there already"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(folder.join("sitar.toml")).unwrap(), text);

    let checked = config(folder, &["check", "sitar.toml"], &[]);
    assert_eq!(checked.text(), "sitar.toml: 1 site, 1 listener: fine\n", "{}", checked.stderr);
    assert_eq!(checked.status.code(), Some(0));
    let shown = config(folder, &["show", "sitar.toml", "--shards", "2"], &[("SITAR_MEMORY", "1 GiB")]);
    assert_eq!(shown.status.code(), Some(0), "{}", shown.stderr);
    let text = shown.text();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    for line in ["shards = 2 # --shards", "memory = \"1 GiB\" # SITAR_MEMORY", "tls = \"auto\" # default"] {
        assert!(lines.iter().any(|other| other == line), "{line}\n{text}");
    }
}

#[test]
fn all_mistakes_are_printed_with_the_code_of_a_check() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.toml"), "[server]\nshards = 0\n[[site]]\nrot = \"x\"\n").unwrap();
    let expected = "error: a.toml:2:10: invalid value '0' for 'shards': expected a whole number from 1 to 512\n  \
                    hint: for example: shards = 4\n\
                    error: a.toml:4:1: unknown key 'rot' in [[site]]\n  \
                    hint: did you mean 'root'?\n\
                    2 problems\n";
    for action in ["check", "show"] {
        let ended = config(folder.path(), &[action, "a.toml"], &[]);
        assert_eq!(ended.text(), expected, "{action}: {}", ended.stderr);
        assert_eq!(ended.status.code(), Some(3));
    }
    let ended = config(folder.path(), &["check", "missing.toml"], &[]);
    assert_eq!(ended.status.code(), Some(3));
    assert!(ended.text().starts_with("error: missing.toml: no such file\n"), "{}", ended.text());
}

/// The mistakes that the parser's tests have written out; their form is explained there.
const MISTAKES: [&str; 5] = [
    include_str!("../crates/sitar/src/config/tests/mistakes/syntax.txt"),
    include_str!("../crates/sitar/src/config/tests/mistakes/file.txt"),
    include_str!("../crates/sitar/src/config/tests/mistakes/server.txt"),
    include_str!("../crates/sitar/src/config/tests/mistakes/listen.txt"),
    include_str!("../crates/sitar/src/config/tests/mistakes/site.txt"),
];

/// Writes the files of each mistake into the folder, and has `look` look at it. Returns how many
/// there are.
pub(crate) fn each_mistake(folder: &Path, mut look: impl FnMut(&str)) -> usize {
    let mut count = 0;
    for case in MISTAKES.iter().flat_map(|text| text.split("=== ")).filter(|case| !case.is_empty()) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (files, _) = rest.split_once(">>>").unwrap();
        let mut written = Vec::new();
        for (number, file) in files.split("--- ").enumerate() {
            let (name, text) =
                if number == 0 { ("sitar.toml", file) } else { file.split_once('\n').unwrap() };
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            written.push(path);
        }
        look(title);
        written.iter().for_each(|path| fs::remove_file(path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn a_start_refuses_what_a_check_refuses_with_the_same_words() {
    let folder = TempDir::new().unwrap();
    let count = each_mistake(folder.path(), |title| {
        let checked = config(folder.path(), &["check", "sitar.toml"], &[]);
        assert_eq!(checked.status.code(), Some(3), "{title}: {}", checked.stderr);
        let mut start = sitar(folder.path());
        start.current_dir(folder.path()).args(["serve", "--config", "sitar.toml"]);
        let started = run_with(&mut start, b"");
        assert_eq!(started.status.code(), Some(1), "{title}: {}", started.text());
        let text = checked.text();
        let (problems, _) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(started.stderr.trim_end(), problems, "{title}");
    });
    assert!(count >= 80, "{count}");
}

#[test]
fn hosts_of_every_form_are_served() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("public")).unwrap();
    fs::write(folder.path().join("public/index.html"), "hello").unwrap();
    let text = "[server]\ntls = \"off\"\n\
                [[site]]\nhosts = [\"::1\", \"[2001:DB8:0::1]\", \"127.0.0.1\"]\ncanonical = \"[::1]\"\nroot = \"public\"\n\
                [[site]]\nhosts = [\"A.Example\", \"*.a.example\", \"a_b.example\", \"xn--bcher-kva.example\"]\n\
                canonical = \"a.example\"\nredirect_to = \"https://b.example/x?y=%20\"\n\
                [[site]]\nhosts = \"localhost\"\ndefault = true\nredirect_to = \"https://[::2]:8443\"\n";
    fs::write(folder.path().join("a.toml"), text).unwrap();
    let ended = config(folder.path(), &["check", "a.toml"], &[]);
    assert_eq!(ended.text(), "a.toml: 3 sites, 1 listener: fine\n", "{}", ended.stderr);
}

#[test]
fn variables_for_one_site_are_refused_beside_a_file() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("public")).unwrap();
    fs::write(folder.path().join("a.toml"), "[[site]]\nroot = \"public\"\n").unwrap();
    let ended = config(folder.path(), &["check", "a.toml"], &[("SITAR_LISTEN", "443")]);
    assert_eq!(ended.status.code(), Some(2));
    let expected = "SITAR_LISTEN is set, and cannot be used with a configuration file, which has 'address' of \
                    [[listen]] for it; unset SITAR_LISTEN";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    // An empty variable is not set.
    let ended = config(folder.path(), &["check", "a.toml"], &[("SITAR_LISTEN", "")]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.text());
}

#[test]
fn the_schema_is_json() {
    let folder = TempDir::new().unwrap();
    let ended = config(folder.path(), &["schema"], &[]);
    let schema: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(schema["title"], "sitar.toml");
}
