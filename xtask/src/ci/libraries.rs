//! C libraries are compiled once: the release build makes them, and the others take them from
//! there.
//!
//! They are a third of what a build takes that has nothing to start from, and cargo would make them
//! again for each profile. Its configuration can say instead what the build script of a package
//! would have said (`target.TRIPLE.LIBRARY`). Besides, tests get the very code that ships.

use super::outcome::{Outcome, failed};
use super::target;
use crate::metadata;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Sender;

/// Packages whose build scripts compile C for longer than it takes to start them.
const PACKAGES: [&str; 4] = ["aws-lc-sys", "libdeflate-sys", "ring", "zstd-sys"];

/// Runs `cargo` with these arguments for a build. As soon as the libraries are there, sends
/// arguments for the builds that will use them.
pub(crate) fn build(root: &Path, arguments: &[&str], to_others: &Sender<Vec<String>>) -> Outcome {
    let (host, mut missing) = match (metadata::host(), metadata::load(root)) {
        (Ok(host), Ok(metadata)) => (host, metadata.links),
        (Err(error), _) | (_, Err(error)) => return failed(error),
    };
    missing.retain(|id, _| PACKAGES.contains(&name_of(id)));
    println!("\n$ cargo {}", arguments.join(" "));
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).arg("--message-format=json-render-diagnostics").current_dir(root);
    let mut child = match cargo.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return failed(error.to_string()),
    };
    let mut tables = String::new();
    let stdout = child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
    for line in stdout.map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        if message["reason"] != "build-script-executed" {
            continue;
        }
        let Some(library) = message["package_id"].as_str().and_then(|id| missing.remove(id)) else {
            continue;
        };
        let folder = Path::new(message["out_dir"].as_str().unwrap_or_default());
        let said = std::fs::read_to_string(folder.with_file_name("output")).unwrap_or_default();
        // Where one says what a configuration cannot, its build script runs again.
        tables.push_str(&table(&host, &library, &said).unwrap_or_default());
        if missing.is_empty() {
            let file = target(root).join("libraries.toml");
            if std::fs::write(&file, &tables).is_ok() {
                // They wait for it, or for the end of this.
                let _ = to_others.send(vec!["--config".into(), file.display().to_string()]);
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => failed(status.to_string()),
        Err(error) => failed(error.to_string()),
    }
}

/// `registry+https://…#NAME@VERSION`; the name alone where it is that of its folder.
fn name_of(id: &str) -> &str {
    let name = id.rsplit_once('#').map_or(id, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Returns the output of a build script as a table of cargo's configuration. `None` where the
/// table would not do the same.
fn table(host: &str, library: &str, said: &str) -> Option<String> {
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in said.lines() {
        let Some(line) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else {
            continue;
        };
        let line = line.strip_prefix("metadata=").unwrap_or(line);
        let (key, value) = line.split_once('=')?;
        match key {
            "rustc-link-lib" | "rustc-link-search" | "rustc-cfg" => {
                lists.entry(key).or_default().push(format!("{value:?}"));
            }
            "rustc-check-cfg" | "warning" => {}
            _ if key.starts_with("rerun-if-") => {}
            _ if key.starts_with("rustc-") => return None,
            _ => lines.push(format!("{key:?} = {value:?}\n")),
        }
    }
    lists.contains_key("rustc-link-lib").then(|| {
        lines.extend(lists.iter().map(|(key, values)| format!("{key} = [{}]\n", values.join(", "))));
        format!("[target.{host}.{library}]\n{}", lines.concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_script_becomes_a_table() {
        let said = "\
Ignoring /usr
cargo:rerun-if-changed=a.c
cargo:rustc-link-lib=static=one
cargo:rustc-link-lib=static=two
cargo::rustc-link-search=native=/out
cargo:rustc-cfg=universal
cargo::rustc-check-cfg=cfg(universal)
cargo:warning=a word
cargo::metadata=include=/out/include
cargo:conf=A,B
";
        let expected = "\
[target.x86_64-unknown-linux-gnu.both_1]
\"include\" = \"/out/include\"
\"conf\" = \"A,B\"
rustc-cfg = [\"universal\"]
rustc-link-lib = [\"static=one\", \"static=two\"]
rustc-link-search = [\"native=/out\"]
";
        assert_eq!(table("x86_64-unknown-linux-gnu", "both_1", said).as_deref(), Some(expected));
        assert_eq!(table("x", "y", &format!("{said}cargo:rustc-env=A=1\n")), None, "there is no such key");
        assert_eq!(table("x", "y", "cargo:rustc-cfg=nothing_is_linked\n"), None);
    }

    #[test]
    fn packages_are_known_by_their_names() {
        assert_eq!(
            name_of("registry+https://github.com/rust-lang/crates.io-index#aws-lc-sys@0.47.0"),
            "aws-lc-sys"
        );
        assert_eq!(name_of("path+file:///w/crates/io#sitar-io@0.1.0"), "sitar-io");
        assert_eq!(name_of("path+file:///w/xtask#0.1.0"), "0.1.0");
    }
}
