//! Files that cannot be read, and bounds.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::problems::WORDED;

const SITE: &str = "[[site]]\nroot = \"x\"\n";

#[test]
fn files_that_are_none() {
    let folder = Folder::new([]);
    assert_eq!(folder.problems(&[]), "sitar.toml: no such file\n  hint: write one: sitar config init\n");
    fs::create_dir(folder.file()).unwrap();
    assert_eq!(folder.problems(&[]), "sitar.toml: is a folder, and not a file\n");
    let problems = read(Path::new("/dev/null"), &[]).unwrap_err();
    assert_eq!(problems[0].to_string(), "/dev/null: is no regular file");
    let problems = read(Path::new(""), &[]).unwrap_err();
    assert_eq!(problems[0].what, "no such file");
    fs::remove_dir(folder.file()).unwrap();
    symlink("sitar.toml", folder.file()).unwrap();
    assert!(folder.problems(&[]).starts_with("sitar.toml: cannot be read: "), "{}", folder.problems(&[]));
}

#[test]
fn bytes_that_are_no_text() {
    let folder = Folder::new([("sitar.toml", b"[[site]]\n# \xc3\xbc \xff\nroot = \"x\"\n".as_slice())]);
    assert_eq!(folder.problems(&[]), "sitar.toml:2:5: is not UTF-8 from here on\n");
    let folder = Folder::new([
        ("sitar.toml", b"include = \"a.toml\"\n[server]\nshards = 0\n".as_slice()),
        ("a.toml", b"\xff"),
    ]);
    assert_eq!(
        folder.problems(&[]),
        "sitar.toml:3:10: invalid value '0' for 'shards': expected a whole number from 1 to 512\n  \
         hint: for example: shards = 4\na.toml:1:1: is not UTF-8 from here on\n"
    );
}

#[test]
fn a_byte_order_mark_is_no_column() {
    let folder = Folder::of("\u{feff}zzzz = 1\r\n[[site]]\r\nroot = 1\r\n");
    let places: Vec<String> =
        folder.read(&[]).unwrap_err().iter().map(|problem| problem.place.to_string()).collect();
    let file = folder.file();
    assert_eq!(places, [format!("{}:1:1", file.display()), format!("{}:3:8", file.display())]);
}

#[test]
fn problems_as_one_error() {
    let one = Folder::of("[[site]]\nrot = \"x\"\n");
    let text =
        |folder: &Folder| refused(&folder.read(&[]).unwrap_err()).to_string().replace(&folder.prefix(), "");
    assert_eq!(
        text(&one),
        "error: sitar.toml:2:1: unknown key 'rot' in [[site]]\n  hint: did you mean 'root'?"
    );
    let two = Folder::of("a = 1\n[[site]]\nrot = \"x\"\n");
    assert_eq!(
        text(&two),
        "error: sitar.toml:1:1: unknown key 'a' before the first table\n  \
         hint: there is: include, [server], [[listen]], [[site]], [acme], [log], [admin]\n\
         error: sitar.toml:3:1: unknown key 'rot' in [[site]]\n  \
         hint: did you mean 'root'?"
    );
}

#[test]
fn many_included_files() {
    let text = "[[site]]\nhosts = \"NAME.localhost\"\nroot = \"x\"\n";
    let files: Vec<(String, String)> =
        (0..1500).map(|n| (format!("d/{n:04}.toml"), text.replace("NAME", &format!("s{n}")))).collect();
    let main = ("sitar.toml", b"include = \"d/*.toml\"\n".as_slice());
    let folder =
        Folder::new([main].into_iter().chain(files.iter().map(|(name, text)| (&**name, text.as_bytes()))));
    let config = folder.read(&[]).unwrap();
    assert_eq!(config.sites.len(), 1500);
    assert_eq!(config.sites[1499].hosts, ["s1499.localhost"]);
}

#[test]
fn large_files() {
    let full = |bytes: usize| format!("{SITE}#{}", "x".repeat(bytes - SITE.len() - 1));
    assert!(Folder::of(&full(1 << 20)).read(&[]).is_ok());
    assert_eq!(Folder::of(&full((1 << 20) + 1)).problems(&[]), "sitar.toml: is larger than 1 MiB\n");
}

#[test]
fn many_sites_addresses_and_hosts() {
    let sites = |count: usize| {
        let mut text = String::new();
        for site in 0..count {
            let _ = write!(text, "[[site]]\nhosts = \"s{site}.localhost\"\nroot = \"x\"\n");
        }
        Folder::of(&text)
    };
    assert_eq!(sites(4096).read(&[]).unwrap().sites.len(), 4096);
    assert_eq!(sites(4097).problems(&[]), "sitar.toml:1:1: [[site]] is there 4097 times; 4096 are allowed\n");

    let addresses = |count: usize| {
        let all: Vec<String> = (1..=count).map(|port| format!("\":{port}\"")).collect();
        Folder::of(&format!("[[listen]]\naddress = [{}]\n{SITE}", all.join(",")))
    };
    assert!(addresses(64).read(&[]).is_ok());
    assert_eq!(addresses(65).problems(&[]), "sitar.toml:2:11: 'address' has 65 elements; 64 are allowed\n");
    let listeners: String =
        (1..=33).map(|n| format!("[[listen]]\naddress = [\":{n}\", \":{}\"]\n", n + 100)).collect();
    assert_eq!(
        Folder::of(&format!("{listeners}{SITE}")).problems(&[]),
        "sitar.toml:66:12: more than 64 addresses\n"
    );

    let hosts = |count: usize| {
        let all: Vec<String> = (0..count).map(|host| format!("\"h{host}.localhost\"")).collect();
        Folder::of(&format!("{SITE}hosts = [{}]\n", all.join(",")))
    };
    assert!(hosts(1024).read(&[]).is_ok());
    assert_eq!(hosts(1025).problems(&[]), "sitar.toml:3:9: 'hosts' has 1025 elements; 1024 are allowed\n");
}

#[test]
fn many_problems_are_cut() {
    let text: String = (0..1000).map(|number| format!("zzzzz{number} = 1\n")).collect();
    let problems = Folder::of(&text).problems(&[]);
    assert_eq!(problems.lines().filter(|line| line.starts_with("sitar.toml:")).count(), 201);
    assert!(problems.ends_with("sitar.toml: more than 200 problems; the others are not shown\n"));
    // Syntax errors, too, and what comes behind them is not judged.
    let problems = Folder::of(&"a = b\n".repeat(100)).problems(&[]);
    assert_eq!(problems.lines().filter(|line| line.starts_with("sitar.toml:")).count(), 20);
}

/// A file of a MiB may have hundreds of thousands of mistakes.
#[test]
fn words_are_looked_for_only_where_they_are_kept() {
    let count = |text: &str| {
        WORDED.set(0);
        assert!(!Folder::of(text).problems(&[]).is_empty());
        WORDED.get()
    };
    let keys: String = (0..5000).map(|number| format!("zzzzz{number} = 1\n")).collect();
    assert_eq!(count(&keys), 201);
    assert_eq!(count(&format!("[server]\n{keys}")), 201);
    // Behind a syntax error that puts the rest into doubt.
    assert_eq!(count(&format!("[server\n{keys}")), 1);
    // Syntax errors, two on each line; and all on one.
    assert!(count(&"a = b\n".repeat(5000)) <= 40);
    assert!(count(&format!("a = {}\n", "\\ ".repeat(5000))) <= 500);
    assert!(count(&format!("a = [\"{}\"]\n", "\\z".repeat(5000))) <= 500);
    // In several files.
    let main = ("sitar.toml", "include = [\"a.toml\", \"b.toml\"]\n".to_owned());
    let files = [main, ("a.toml", keys.clone()), ("b.toml", keys)];
    let folder = Folder::new(files.iter().map(|(name, text)| (*name, text.as_bytes())));
    WORDED.set(0);
    assert_eq!(folder.read(&[]).unwrap_err().len(), 201);
    assert_eq!(WORDED.get(), 201);
}

#[test]
fn places_in_long_lines_count_characters() {
    let text = format!("{SITE}hosts = [{}\"*\"]\n", "\"ü\", ".repeat(500));
    let problems = Folder::of(&text).read(&[]).unwrap_err();
    let last = problems.iter().rfind(|problem| problem.place.column > 0).unwrap();
    // 200 are shown.
    assert_eq!((last.place.line, last.place.column), (3, 10 + 199 * 5));
}

#[test]
fn a_value_cannot_forge_a_line() {
    let folder = Folder::of("[[site]]\nroot = \"x\"\n\"a\\n\\u001b[2J\" = 1\n");
    let first = folder.problems(&[]);
    assert!(first.starts_with("sitar.toml:3:1: unknown key 'a\\n\\u{1b}[2J' in [[site]]\n"), "{first}");
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("a = {}", "[".repeat(100_000));
    assert!(Folder::of(&text).problems(&[]).starts_with("sitar.toml:1:"));
}
