//! `cargo xtask media DB.json`: the table of media types, made from a release of mime-db.
//!
//! mime-db (<https://github.com/jshttp/mime-db>) gathers IANA's registry and the tables of Apache
//! and nginx. Its `db.json` is given and not downloaded. Where several types claim an extension,
//! the first of these that tells them apart decides, as in mime-db's companion mime-score:
//!
//! 1. the registration tree: standards before vendors (`vnd.`) before the unregistered (`x.`, `x-`)
//!    and personal ones;
//! 2. the source: IANA, none, Apache, nginx;
//! 3. the kind: video, then audio and fonts, then applications, then the others (`application/xml`,
//!    not `text/xml`);
//! 4. the shorter name.
//!
//! `own.txt` comes before all of these. `application/octet-stream` is left out: it is what an
//! unknown extension means.

use crate::Invocation;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Writes the table.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    match invocation.args.as_slice() {
        [db] => match write(invocation, db) {
            Ok(count) => {
                println!("{count} extensions in {FOLDER}/types.txt");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!(
                "usage: cargo xtask media DB.json   (db.json of a release of github.com/jshttp/mime-db)"
            );
            ExitCode::from(2)
        }
    }
}

fn write(invocation: &Invocation, db: &str) -> Result<usize, String> {
    let folder = invocation.root.join(FOLDER);
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let db: Value = serde_json::from_str(&read(db.as_ref())?).map_err(|error| format!("{db}: {error}"))?;
    let table = table(&db, &read(&folder.join("own.txt"))?)?;
    let lines: String = table.iter().map(|(extension, essence)| format!("{extension} {essence}\n")).collect();
    let path = folder.join("types.txt");
    std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(table.len())
}

/// Returns the type of each extension.
fn table(db: &Value, own: &str) -> Result<BTreeMap<String, String>, String> {
    let mut ranked = BTreeMap::new();
    for (essence, about) in db.as_object().ok_or("the database is no object")? {
        if essence == UNKNOWN {
            continue;
        }
        let rank = rank(essence, about["source"].as_str());
        for extension in about["extensions"].as_array().into_iter().flatten() {
            let extension = extension.as_str().ok_or("an extension is no text")?;
            check(extension, essence)?;
            let best = ranked.entry(extension.to_owned()).or_insert((rank, essence.as_str()));
            if rank > best.0 {
                *best = (rank, essence);
            }
        }
    }
    let mut table: BTreeMap<String, String> =
        ranked.into_iter().map(|(extension, (_, essence))| (extension, essence.to_owned())).collect();
    for line in own.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let (Some(extension), Some(essence), Some(_)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("own.txt: not EXTENSION TYPE REASON: {line}"));
        };
        check(extension, essence)?;
        let before = table.insert(extension.to_owned(), essence.to_owned());
        if before.as_deref() == Some(essence) {
            return Err(format!("own.txt: mime-db says the same: {line}"));
        }
    }
    Ok(table)
}

/// Returns the rank of a type: of two types, an extension means the one with the larger rank.
fn rank(essence: &str, source: Option<&str>) -> (u8, u8, u8, Reverse<usize>) {
    let (kind, subtype) = essence.split_once('/').unwrap_or((essence, ""));
    let tree = match () {
        () if subtype.starts_with("prs.") => 0,
        () if subtype.starts_with("x-") => 1,
        () if subtype.starts_with("x.") => 2,
        () if subtype.starts_with("vnd.") => 3,
        () => 4,
    };
    let source = match source {
        Some("nginx") => 0,
        Some("apache") => 1,
        Some("iana") => 3,
        _ => 2,
    };
    let kind = match kind {
        "video" => 3,
        "audio" | "font" => 2,
        "application" => 1,
        _ => 0,
    };
    (tree, source, kind, Reverse(essence.len()))
}

/// Checks the conditions that the server relies on in the table: lower case, nothing that would end
/// a word or a header line.
fn check(extension: &str, essence: &str) -> Result<(), String> {
    let is_extension = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_type = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/".contains(&byte);
    let is_good = !extension.is_empty()
        && extension.bytes().all(is_extension)
        && essence.bytes().all(is_type)
        && essence.split('/').count() == 2;
    if is_good { Ok(()) } else { Err(format!("'{extension} {essence}' cannot stand in the table")) }
}

const FOLDER: &str = "crates/site/src/answer/media";
/// The type of a file of an unknown kind.
const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_type_of_several() {
        let db: Value = serde_json::from_str(
            r#"{
                "application/javascript": {"source": "apache", "extensions": ["js"]},
                "text/javascript": {"source": "iana", "extensions": ["js", "mjs"]},
                "application/mp4": {"source": "iana", "extensions": ["mp4"]},
                "video/mp4": {"source": "iana", "extensions": ["mp4"]},
                "application/vnd.ms-pki.stl": {"source": "apache", "extensions": ["stl"]},
                "model/stl": {"source": "iana", "extensions": ["stl"]},
                "text/xml": {"source": "iana", "extensions": ["xml"]},
                "application/xml": {"source": "iana", "extensions": ["xml"]},
                "audio/x-m4a": {"source": "nginx", "extensions": ["m4a"]},
                "audio/mp4": {"source": "iana", "extensions": ["m4a"]},
                "application/octet-stream": {"source": "iana", "extensions": ["bin", "deb"]},
                "application/x-debian-package": {"extensions": ["deb"]},
                "text/plain": {"source": "iana"},
                "application/vnd.lotus-organizer": {"source": "iana", "extensions": ["org"]}
            }"#,
        )
        .unwrap();
        let table =
            table(&db, "# a comment\n\norg text/x-org a reason\ntgz application/gzip another one\n").unwrap();
        let lines: Vec<_> =
            table.iter().map(|(extension, essence)| format!("{extension} {essence}")).collect();
        assert_eq!(
            lines,
            [
                "deb application/x-debian-package",
                "js text/javascript",
                "m4a audio/mp4",
                "mjs text/javascript",
                "mp4 video/mp4",
                "org text/x-org",
                "stl model/stl",
                "tgz application/gzip",
                "xml application/xml",
            ]
        );
    }

    #[test]
    fn what_cannot_stand_in_the_table() {
        for own in
            ["org", "org text/x-org", "ORG text/x-org a", "o.g text/x-org a", "org text a", "org a/b\tc d"]
        {
            assert!(table(&Value::Object(serde_json::Map::new()), own).is_err(), "{own}");
        }
        let db: Value = serde_json::from_str(r#"{"text/x-org": {"extensions": ["org"]}}"#).unwrap();
        assert!(table(&db, "org text/x-org no use").is_err());
    }
}
