//! Authorities and a name server for the tests of ACME, downloaded and unpacked under
//! `target/acme`, never installed: a name server that is installed would also be started.

use crate::debian::{apt_get, private_lists, unpack};
use crate::program::Result;
use crate::{ci, setup};
use std::fs;
use std::path::Path;

/// Packages that are unpacked together.
pub(crate) struct Set {
    /// The folder below `target/acme`. Tests name it (tests/acme).
    pub(crate) name: &'static str,
    /// Debian's suite; `None`: the one that this machine has.
    suite: Option<&'static str>,
    packages: &'static [&'static str],
    /// What tests start.
    program: &'static str,
}

/// pebble of Debian 13 has ARI, the one of sid has profiles, too. Debian 12's has neither.
pub(crate) const SETS: [Set; 3] = [
    Set { name: "pebble", suite: Some("trixie"), packages: &["pebble"], program: "usr/bin/pebble" },
    Set { name: "pebble-sid", suite: Some("sid"), packages: &["pebble"], program: "usr/bin/pebble" },
    Set {
        name: "bind",
        suite: None,
        packages: &[
            "bind9",
            "bind9-dnsutils",
            "bind9-libs",
            "bind9-utils",
            "libfstrm0",
            "libjemalloc2",
            "libjson-c5",
            "liblmdb0",
            "libmaxminddb0",
            "libprotobuf-c1",
            "libuv1",
        ],
        program: "usr/sbin/named",
    },
];

/// Downloads and unpacks what is not there yet. Returns a line for each set that cannot be had.
pub(crate) fn ensure(root: &Path) -> Vec<String> {
    let below = ci::target(root).join("acme");
    let missing = |set: &Set| set.get(&below).err().map(|error| format!("no {}: {error}", set.name));
    SETS.iter().filter_map(missing).collect()
}

impl Set {
    fn get(&self, below: &Path) -> Result<()> {
        let unpacked = below.join(self.name);
        if unpacked.join(self.program).exists() {
            return Ok(());
        }
        let work = below.join(format!("half-{}", self.name));
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        // Unpacked beside its place and renamed, so that a half is never taken for the whole.
        let half = work.join("unpacked");
        for folder in ["packages", "unpacked"] {
            fs::create_dir_all(work.join(folder))?;
        }
        let options = match self.suite {
            Some(suite) => private_lists(&work, suite)?,
            None => Vec::new(),
        };
        let packages = work.join("packages");
        println!("setup: downloading {}", self.packages.join(" "));
        let download = [&["download"][..], self.packages].concat();
        if let Err(error) = apt_get(&packages, &options, &download) {
            // The machine's own lists may be absent or old. Those of a suite are new.
            if self.suite.is_some() || !setup::update_package_lists() {
                return Err(error);
            }
            apt_get(&packages, &options, &download)?;
        }
        unpack(&packages, &half)?;
        if !half.join(self.program).exists() {
            return Err(format!("the packages hold no {}", self.program).into());
        }
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked)?;
        }
        fs::rename(&half, &unpacked)?;
        Ok(fs::remove_dir_all(&work)?)
    }
}
