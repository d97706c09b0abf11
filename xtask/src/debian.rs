//! Debian's packages, downloaded and unpacked, never installed.

use crate::program::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIRROR: &str = "http://deb.debian.org/debian";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches the list of a suite's packages into that folder, without a change to the machine's own
/// and without root. Returns the options by which apt finds it.
///
/// # Errors
/// The keys are absent, or the mirror cannot be reached.
pub(crate) fn private_lists(work: &Path, suite: &str) -> Result<Vec<String>> {
    if !Path::new(KEYS).exists() {
        return Err(format!("no {KEYS}, by which Debian's packages are checked").into());
    }
    for folder in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(work.join(folder))?;
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

/// Runs apt-get in that folder.
///
/// # Errors
/// The first line of its own that names one.
pub(crate) fn apt_get(folder: &Path, options: &[String], args: &[&str]) -> Result<()> {
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

/// Returns the names of packages that match a regular expression, in lists that options name.
///
/// # Errors
/// apt-cache does not run.
pub(crate) fn names(options: &[String], pattern: &str) -> Result<Vec<String>> {
    let mut command = Command::new("apt-cache");
    for option in options {
        command.args(["-o", option]);
    }
    let listed = command.args(["search", "--names-only", pattern]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// Unpacks all packages of one folder into another.
///
/// # Errors
/// One of them is damaged, or there is no room.
pub(crate) fn unpack(packages: &Path, into: &Path) -> Result<()> {
    for package in fs::read_dir(packages)? {
        let path = package?.path();
        if !Command::new("dpkg").arg("-x").arg(&path).arg(into).status()?.success() {
            return Err(format!("{} could not be unpacked", path.display()).into());
        }
    }
    Ok(())
}
