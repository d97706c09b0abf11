//! `sitar config init`: a file that is right as it is, and in which comments explain each key.
//!
//! A line that begins with `#` and a letter or a bracket is an example: without its `#`, it is
//! accepted. Lines of examples that follow each other belong together.

use super::keys::{self, Form, Table};

/// The most columns of a comment.
const WIDTH: usize = 80;

/// Keys whose examples stand together, and the lines of the example.
struct Group {
    keys: &'static [&'static str],
    lines: &'static [&'static str],
}

const SERVER: &[Group] =
    &[Group { keys: &["engine", "spin"], lines: &["engine = \"sqpoll\"", "spin = \"500us\""] }];
const SITE: &[Group] = &[
    Group {
        keys: &["hosts", "canonical"],
        lines: &["hosts = [\"localhost\", \"www.localhost\"]", "canonical = \"localhost\""],
    },
    Group {
        keys: &["users", "realm"],
        lines: &["users = \"/etc/sitar/example.htpasswd\"", "realm = \"Staff\""],
    },
    Group { keys: &["rate", "burst"], lines: &["rate = \"20/s\"", "burst = 40"] },
    Group { keys: &["acme"], lines: &[] },
    Group { keys: &["default"], lines: &[] },
    Group { keys: &["root"], lines: &[] },
    Group {
        keys: &["redirect_to", "redirect_status"],
        lines: &[
            "[[site]]",
            "hosts = [\"old.localhost\"]",
            "redirect_to = \"https://example.com\"",
            "redirect_status = 301",
        ],
    },
];

/// Returns the file.
pub(super) fn text() -> String {
    let mut file = File { text: String::new() };
    file.comment(
        "The configuration of sitar. `sitar config check FILE` looks for mistakes, `sitar serve --config FILE` \
         serves, and `sitar config show FILE` prints what is in force.",
    );
    file.blank();
    file.comment(
        "A line with a # before its key is an example. Relative paths begin at the folder of this file. \
         Headers, redirects and the page for 404 belong to the site: its files _headers, _redirects and 404.html.",
    );
    file.blank();
    file.keys(&keys::FILE, &[], |form| matches!(form, Form::Texts(_)));
    file.table(&keys::SERVER, &[], true);
    file.keys(&keys::SERVER, SERVER, |_| true);

    file.table(&keys::LISTEN, &["address = \"localhost:8443\""], true);
    file.blank();
    for key in keys::LISTEN.keys {
        file.comment(&format!("{}: {}", key.name, key.doc));
    }
    file.examples(&["[[listen]]", "address = \":80\"", "redirect = \"https\""]);
    file.blank();
    file.examples(&["[[listen]]", "address = \"localhost:8080\"", "tls = \"off\""]);
    file.blank();
    let address = "address = \"unix:/run/sitar/http.sock\"";
    file.examples(&["[[listen]]", address, "tls = \"off\"", "mode = \"0660\"", "proxy_protocol = \"unix\""]);

    file.table(&keys::SITE, &["default = true", "root = \"public\""], true);
    file.keys(&keys::SITE, SITE, |_| true);
    file.optional(&keys::ACME);
    file.optional(&keys::LOG);
    file.table(&keys::ADMIN, &["socket = \"/run/sitar/admin.sock\""], false);
    file.text
}

struct File {
    text: String,
}

impl File {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// Adds prose, in lines of at most `WIDTH` columns.
    fn comment(&mut self, prose: &str) {
        let mut line = String::from("#");
        for word in prose.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text.push_str(&line);
                self.blank();
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.text.push_str(&line);
        self.blank();
    }

    fn examples(&mut self, lines: &[&str]) {
        for line in lines {
            self.text.push('#');
            self.text.push_str(line);
            self.blank();
        }
    }

    /// Adds what the keys of a table mean, and one example of it all.
    fn optional(&mut self, table: &Table) {
        let keys = || table.keys.iter().filter(|key| !key.example.is_empty());
        self.blank();
        self.blank();
        self.comment(table.doc);
        for key in keys() {
            self.blank();
            self.key_comment(key);
        }
        self.examples(&[table.name]);
        for key in keys() {
            self.examples(&[&format!("{} = {}", key.name, key.example)]);
        }
    }

    /// Adds a header and lines below it, either as they are or as examples.
    fn table(&mut self, table: &Table, lines: &[&str], is_real: bool) {
        self.blank();
        self.blank();
        self.comment(table.doc);
        if is_real {
            for line in std::iter::once(&table.name).chain(lines) {
                self.text.push_str(line);
                self.blank();
            }
        } else {
            self.examples(&[table.name]);
            self.examples(lines);
        }
    }

    /// Adds what each key means, and its example. The groups that begin a table come last.
    fn keys(&mut self, table: &Table, groups: &[Group], is_wanted: impl Fn(Form) -> bool) {
        let group = |name: &str| groups.iter().find(|group| group.keys.contains(&name));
        let begins_table = |group: &Group| group.lines.first().is_some_and(|line| line.starts_with('['));
        let wanted = || table.keys.iter().filter(|key| is_wanted(key.form));
        for is_table in [false, true] {
            for key in wanted() {
                let group = group(key.name);
                if group.is_some_and(begins_table) != is_table {
                    continue;
                }
                match group {
                    None => {
                        self.blank();
                        self.key_comment(key);
                        self.examples(&[&format!("{} = {}", key.name, key.example)]);
                    }
                    Some(group) if group.keys.first() == Some(&key.name) => {
                        self.blank();
                        for key in group.keys.iter().filter_map(|name| table.key(name)) {
                            self.key_comment(key);
                        }
                        self.examples(group.lines);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn key_comment(&mut self, key: &keys::Key) {
        let default = key.default.map_or_else(String::new, |default| format!(" Default: {default}."));
        let words = match key.form {
            Form::Word(words) if words().len() > 1 => {
                let words: Vec<String> =
                    words().iter().map(|(word, meaning)| format!("\"{word}\" ({meaning})")).collect();
                format!(" One of: {}.", words.join("; "))
            }
            _ => String::new(),
        };
        self.comment(&format!("{}: {}{words}{default}", key.name, key.doc));
    }
}
