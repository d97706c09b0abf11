//! The output of `cargo metadata` for the workspace, reduced to what the rules ask.
//!
//! Not with the crate cargo_metadata: it brings serde's derive, which every first run would compile
//! before anything else begins.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// The workspace and everything it depends on.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) members: Vec<Member>,
    /// Packages anywhere in the graph whose source is a git repository, as `name (source)`.
    pub(crate) from_git: Vec<String>,
    /// By the id of a package: what cargo calls the library that its build script makes or finds.
    pub(crate) links: BTreeMap<String, String>,
    /// Packages that end up in a program or run while it is built, with a member that brings them
    /// in.
    pub(crate) shipped: BTreeMap<String, String>,
    /// The packages that end up in each member, or run while it is built; itself included.
    pub(crate) linked: BTreeMap<String, BTreeSet<String>>,
}

/// One package of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Path of `Cargo.toml` relative to the root.
    pub(crate) manifest: String,
    /// Direct dependencies of every kind, by package name.
    pub(crate) dependencies: BTreeSet<String>,
}

/// Runs cargo and reads its answer.
///
/// # Errors
/// One line: cargo's own message, or what was missing in its answer.
pub(crate) fn load(root: &Path) -> Result<Metadata, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without a platform cargo downloads what only other systems need.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--filter-platform", &host()?])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    parse(&value).ok_or_else(|| "cargo metadata: the answer lacks a field that its format promises".into())
}

/// The platform that is compiled on, as `x86_64-unknown-linux-gnu`.
///
/// # Errors
/// rustc cannot be asked.
pub(crate) fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).ok_or_else(|| "rustc -vV: no line says `host: `".into())
}

/// `None` when the value is not what format version 1 promises.
pub(crate) fn parse(value: &Value) -> Option<Metadata> {
    let root = value.get("workspace_root")?.as_str()?;
    let relative = |path: &str| path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_string();
    let member_ids: BTreeSet<&str> =
        value.get("workspace_members")?.as_array()?.iter().filter_map(Value::as_str).collect();

    let mut metadata = Metadata::default();
    let mut names = BTreeMap::new();
    for package in value.get("packages")?.as_array()? {
        let id = package.get("id")?.as_str()?;
        let name = package.get("name")?.as_str()?;
        names.insert(id, name);
        if let Some(library) = package.get("links").and_then(Value::as_str) {
            metadata.links.insert(id.to_string(), library.to_string());
        }
        if let Some(source) = package.get("source")?.as_str()
            && source.starts_with("git+")
        {
            metadata.from_git.push(format!("{name} ({source})"));
        }
        if !member_ids.contains(id) {
            continue;
        }
        let mut member = Member {
            name: name.to_string(),
            manifest: relative(package.get("manifest_path")?.as_str()?),
            ..Member::default()
        };
        for dependency in package.get("dependencies")?.as_array()? {
            member.dependencies.insert(dependency.get("name")?.as_str()?.to_string());
        }
        metadata.members.push(member);
    }
    metadata.linked = linked(value, &member_ids, &names)?;
    for (member, packages) in &metadata.linked {
        for package in packages {
            metadata.shipped.entry(package.clone()).or_insert_with(|| member.clone());
        }
    }
    Some(metadata)
}

/// Walks normal and build dependencies from every member; what only tests use stays out.
fn linked(
    value: &Value,
    members: &BTreeSet<&str>,
    names: &BTreeMap<&str, &str>,
) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in value.get("resolve")?.get("nodes")?.as_array()? {
        let mut to = Vec::new();
        for dependency in node.get("deps")?.as_array()? {
            let kinds = dependency.get("dep_kinds")?.as_array()?;
            if kinds.iter().any(|kind| kind.get("kind").and_then(Value::as_str) != Some("dev")) {
                to.push(dependency.get("pkg")?.as_str()?);
            }
        }
        edges.insert(node.get("id")?.as_str()?, to);
    }
    let mut linked = BTreeMap::new();
    for member in members {
        let mut seen = BTreeSet::new();
        let mut queue = vec![*member];
        while let Some(id) = queue.pop() {
            if !seen.insert(id) {
                continue;
            }
            queue.extend(edges.get(id).into_iter().flatten());
        }
        let name_of = |id: &str| names.get(id).copied().unwrap_or(id).to_string();
        linked.insert(name_of(member), seen.into_iter().map(name_of).collect());
    }
    Some(linked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
      "workspace_root": "/w",
      "workspace_members": ["a"],
      "packages": [
        {"id": "a", "name": "alpha", "source": null, "manifest_path": "/w/crates/alpha/Cargo.toml",
         "dependencies": [{"name": "beta"}, {"name": "tokio"}],
         "targets": [{"kind": ["lib"], "src_path": "/w/crates/alpha/src/lib.rs"},
                     {"kind": ["test"], "src_path": "/w/tests/x.rs"}]},
        {"id": "b", "name": "beta", "source": "git+https://example.com/b#1", "manifest_path": "/x",
         "dependencies": [], "targets": []},
        {"id": "s", "name": "smol", "source": "registry+x", "manifest_path": "/x", "dependencies": [], "targets": []},
        {"id": "t", "name": "tokio", "source": "registry+x", "manifest_path": "/x", "dependencies": [], "targets": []}],
      "resolve": {"nodes": [
        {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}, {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
        {"id": "b", "deps": [{"pkg": "s", "dep_kinds": [{"kind": "build"}]}]},
        {"id": "s", "deps": []}, {"id": "t", "deps": []}]}}"#;

    #[test]
    fn cargos_answer_is_read() {
        let metadata = parse(&serde_json::from_str(ANSWER).unwrap()).unwrap();
        assert_eq!(metadata.from_git, ["beta (git+https://example.com/b#1)"]);
        assert_eq!(metadata.members.len(), 1);
        assert_eq!(metadata.members[0].name, "alpha");
        assert_eq!(metadata.members[0].manifest, "crates/alpha/Cargo.toml");
        assert!(metadata.members[0].dependencies.iter().eq(["beta", "tokio"]));
        // tokio is a test's dependency only; smol comes in through a build script.
        assert!(metadata.shipped.keys().eq(["alpha", "beta", "smol"]));
        assert_eq!(metadata.shipped["smol"], "alpha");
        assert!(metadata.linked["alpha"].iter().eq(["alpha", "beta", "smol"]));
    }

    #[test]
    fn a_strange_answer_is_refused() {
        assert!(parse(&serde_json::from_str("{}").unwrap()).is_none());
        assert!(parse(&serde_json::from_str(&ANSWER.replace("\"deps\"", "\"d\"")).unwrap()).is_none());
    }
}
