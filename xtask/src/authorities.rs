//! Authorities and a name server for the tests of ACME, downloaded and unpacked under
//! `target/acme`, never installed: a name server that is installed would also be started.

use crate::program::Result;
use crate::{ci, setup};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

const MIRROR: &str = "http://deb.debian.org/debian";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
        for folder in ["packages", "lists/partial", "archives/partial", "unpacked"] {
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
        for package in fs::read_dir(&packages)? {
            let path = package?.path();
            if !Command::new("dpkg").arg("-x").arg(&path).arg(&half).status()?.success() {
                return Err(format!("{} could not be unpacked", path.display()).into());
            }
        }
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

/// Fetches the list of a suite's packages into that folder, without a change to the machine's own
/// and without root. Returns the options by which apt finds it.
fn private_lists(work: &Path, suite: &str) -> Result<Vec<String>> {
    if !Path::new(KEYS).exists() {
        return Err(format!("no {KEYS}, by which Debian's packages are checked").into());
    }
    let list: PathBuf = work.join("source.list");
    fs::write(&list, format!("deb [signed-by={KEYS}] {MIRROR} {suite} main\n"))?;
    let mut options = vec![
        format!("Dir::Etc::sourcelist={}", fs::canonicalize(&list)?.display()),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={}", fs::canonicalize(work.join("lists"))?.display()),
        format!("Dir::Cache::archives={}", fs::canonicalize(work.join("archives"))?.display()),
        "Dir::Cache::pkgcache=".into(),
        "Dir::Cache::srcpkgcache=".into(),
        // What describes packages is more than the packages.
        "Acquire::Languages=none".into(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".into(),
        "APT::Update::Post-Invoke-Success=".into(),
    ];
    apt_get(work, &options, &["update"])?;
    options.push(format!("APT::Default-Release={suite}"));
    Ok(options)
}

fn apt_get(folder: &Path, options: &[String], args: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // As root, apt would like to download as a user that has no access to a home directory.
    command.args(["--quiet=2", "-o", "APT::Sandbox::User=root"]);
    // A machine without a network finds out soon.
    command.args(["-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=1"]);
    for option in options {
        command.args(["-o", option]);
    }
    let done = command.args(args).current_dir(folder).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("apt-get: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let first =
        said.lines().find(|line| line.starts_with("E:") || line.starts_with("Err")).unwrap_or("failed");
    Err(format!("apt-get {}: {first}", args.first().unwrap_or(&"")).into())
}
