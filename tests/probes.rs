//! The probes that tracers look at: those of the program are those of `docs/probes.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{program, run};

/// The rows of the table: each probe, and how many arguments it has.
pub(crate) fn documented() -> BTreeMap<String, usize> {
    let page = include_str!("../docs/probes.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap().trim_matches('`').to_owned();
        (name, cells.next().unwrap().split(", ").count())
    })
    .collect()
}

/// What `readelf -n` says of the program: each probe, and the numbers of arguments of its places.
fn noted() -> BTreeMap<String, BTreeSet<usize>> {
    let said = run("readelf", ["-n".into(), program()]).ok().text();
    let mut all: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut name = String::new();
    for line in said.lines().map(str::trim) {
        if let Some(provider) = line.strip_prefix("Provider: ") {
            assert_eq!(provider, "sitar");
        } else if let Some(this) = line.strip_prefix("Name: ") {
            name = this.to_owned();
        } else if let Some(arguments) = line.strip_prefix("Arguments:") {
            all.entry(name.clone()).or_default().insert(arguments.split_whitespace().count());
        } else if let Some(place) = line.strip_prefix("Location: ") {
            let (place, semaphore) = (&place[..18], place.rsplit_once("Semaphore: ").unwrap().1);
            let address = u64::from_str_radix(place.trim_start_matches("0x"), 16).unwrap();
            assert!(address > 0x1000, "{name} has a note about a place that was dropped");
            assert_ne!(semaphore.trim_start_matches("0x").trim_matches('0'), "", "{name} has no semaphore");
        }
    }
    all
}

#[test]
fn readelf_lists_each_documented_probe_with_its_arguments_and_no_other() {
    let documented = documented();
    assert_eq!(documented.len(), 13, "rows of the table");
    let expected = documented.iter().map(|(name, count)| (name.clone(), [*count].into()));
    assert_eq!(noted(), expected.collect());
}
