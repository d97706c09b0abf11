//! Building the sites with their generators.

use crate::program::{Places, Result, fresh_folder, on_path, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of every package, npm takes the newest version of that day that fits, also of packages that the
/// sites do not name.
const BEFORE: &str = "2026-11-20";
/// The version that Vite needs; Docusaurus is content with an older one.
const NODE: (u32, u32) = (20, 19);

/// Builds the site of Hugo.
pub(super) fn hugo(places: &Places, folder: &Path) -> Result<PathBuf> {
    needs(&["hugo"])?;
    let site = fresh_folder(folder.join("hugo"))?;
    copy(&places.external().join("sites/hugo"), &site)?;
    succeed(Command::new("hugo").arg("--quiet").current_dir(&site), "hugo")?;
    Ok(site.join("public"))
}

/// Builds the site of Vite, two pages.
pub(super) fn vite(places: &Places, folder: &Path) -> Result<PathBuf> {
    let site = npm(&places.external().join("sites/vite"), folder)?;
    let mut build = Command::new("node_modules/.bin/vite");
    build.args(["build", "--emptyOutDir", "--logLevel", "warn"]).current_dir(&site);
    succeed(&mut build, "vite build")?;
    Ok(site.join("dist"))
}

/// Builds the site of Docusaurus with its defaults: a page is a folder with an `index.html`.
pub(super) fn docusaurus(places: &Places, folder: &Path) -> Result<PathBuf> {
    docusaurus_to(places, folder, "build", "")
}

/// Builds the site of Docusaurus with `trailingSlash: false`: a page is an HTML file.
pub(super) fn docusaurus_flat(places: &Places, folder: &Path) -> Result<PathBuf> {
    docusaurus_to(places, folder, "build-flat", "false")
}

fn docusaurus_to(places: &Places, folder: &Path, output: &str, trailing_slash: &str) -> Result<PathBuf> {
    let site = npm(&places.external().join("sites/docusaurus"), folder)?;
    println!("docusaurus: a minute or so");
    let mut build = Command::new("node_modules/.bin/docusaurus");
    build.args(["build", "--out-dir", output]).current_dir(&site).stdout(Stdio::null());
    // No reports to its makers, no questions about newer versions, no progress bar.
    build.env("DOCUSAURUS_NO_TELEMETRY", "1").env("NO_UPDATE_NOTIFIER", "1").env("CI", "1");
    succeed(build.env("TRAILING_SLASH", trailing_slash), "docusaurus build")?;
    Ok(site.join(output))
}

/// Copies the browser's script and installs its packages. Returns the script.
pub(super) fn browser(places: &Places, folder: &Path) -> Result<PathBuf> {
    Ok(npm(&places.external().join("browser"), folder)?.join("visit.mjs"))
}

/// Copies a folder with a `package.json` into `folder` and installs its packages, unless they are
/// there. Returns the copy.
fn npm(source: &Path, folder: &Path) -> Result<PathBuf> {
    needs(&["node", "npm"])?;
    let said = Command::new("node").arg("--version").output()?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    if node_version(&said).is_none_or(|version| version < NODE) {
        return Err(format!("node {}.{} or newer is needed; this is {said}", NODE.0, NODE.1).into());
    }
    let name = source.file_name().ok_or("a folder without a name")?;
    let site = folder.join(name);
    copy(source, &site)?;
    let wanted = format!("{BEFORE}\n{}", fs::read_to_string(site.join("package.json"))?);
    // Written last, so that an interrupted installation is made again.
    let stamp = site.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(site);
    }
    println!("npm installs packages in {}", site.display());
    fresh_folder(site.join("node_modules"))?;
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--before",
        BEFORE,
        "--no-package-lock",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    succeed(install.current_dir(&site), "npm install (it needs the network once, for npm's registry)")?;
    fs::write(&stamp, wanted)?;
    Ok(site)
}

/// Returns the major and minor version out of `v20.19.1`.
fn node_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix('v')?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Checks that commands are there.
///
/// # Errors
/// One is missing; the error says how to get it.
pub(super) fn needs(commands: &[&str]) -> Result<()> {
    for command in commands {
        if !on_path(command) {
            let hint = match *command {
                "chromium" | "openssl" => "`cargo xtask setup` installs it where there is apt-get",
                "hugo" => "on Debian and Ubuntu: apt-get install hugo",
                _ => "Node.js 20.19 or newer comes with it; Debian 12 has an older one",
            };
            return Err(format!("there is no `{command}`; {hint}").into());
        }
    }
    Ok(())
}

/// Copies a folder's files over those in another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_node_is_read() {
        assert_eq!(node_version("v20.19.1"), Some((20, 19)));
        assert_eq!(node_version("v22.0.0-nightly"), Some((22, 0)));
        assert_eq!(node_version("20.19.1"), None);
        assert_eq!(node_version("v20"), None);
    }
}
