//! `cargo xtask systemd`: the units and the program under a real systemd, in a virtual machine.
//!
//! The kernel is one of the lab's ([`vm`]). The machine's root is made of this machine's
//! own systemd: what it needs to boot to `multi-user.target`, curl, openssl and busybox. There it
//! is process 1, on a file system in memory, with cgroups, a journal, and nothing else running.
//! `checks.sh` then does what an operator does, and names each thing that is so, or is not.

use crate::Invocation;
use crate::program::{Result, found, release};
use crate::vm::{self, Guest, Kernel};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask systemd [6.1|6.12] [--dev] [NAME]

  --dev  the program of the dev profile, which is built sooner
  NAME   only the checks with NAME in their names";

/// The kernel where none is named: the newest that Debian 12 has.
const SERIES: &str = "6.12";
/// Boots systemd: the kernel starts it in the place of the lab's own script.
const START: &str = include_str!("systemd/start.sh");
/// What an operator does.
const CHECKS: &str = include_str!("systemd/checks.sh");
/// The folder on the initial disk that becomes the root.
const ROOT: &str = "system";

/// Programs that the machine has; those of systemd are below `/usr/lib/systemd`, too.
const PROGRAMS: [&str; 11] = [
    "busybox",
    "curl",
    "openssl",
    "/usr/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-journald",
    "/usr/lib/systemd/systemd-shutdown",
    "systemctl",
    "journalctl",
    "systemd-analyze",
    "systemd-sysusers",
    "systemd-tmpfiles",
];
/// Loaded by name, so that `ldd` does not find it: users that exist while a service runs.
const LIBRARIES: [&str; 1] = ["/usr/lib/x86_64-linux-gnu/libnss_systemd.so.2"];
/// Units of systemd's that a boot of this machine goes through.
const UNITS: [&str; 21] = [
    "basic.target",
    "emergency.target",
    "final.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network.target",
    "nss-user-lookup.target",
    "paths.target",
    "reboot.target",
    "shutdown.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    "timers.target",
    "umount.target",
];
/// Where unit files are on both machines.
const UNIT_FOLDER: &str = "/usr/lib/systemd/system";
/// Folders that are in /usr, and links to there.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// The command.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let Some(order) = Order::parse(&invocation.args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let missing = PROGRAMS.iter().find(|name| located(name).is_none()).map(|name| {
        format!("no {name} on this machine; it takes Debian's systemd, curl, openssl and busybox-static")
    });
    if let Some(missing) = vm::missing_tool().or(missing) {
        eprintln!("error: {missing}");
        return ExitCode::FAILURE;
    }
    match boot(&invocation.root, &order) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    series: &'static str,
    dev: bool,
    /// A part of the names of the checks that are run.
    name: String,
}

impl Order {
    fn parse(arguments: &[String]) -> Option<Order> {
        let mut order = Order { series: SERIES, dev: false, name: String::new() };
        for argument in arguments {
            match (argument.as_str(), vm::SERIES.iter().find(|series| *series == argument)) {
                ("--dev", _) => order.dev = true,
                (_, Some(series)) => order.series = series,
                (name, None) if !name.starts_with('-') && order.name.is_empty() => {
                    order.name = name.to_owned();
                }
                _ => return None,
            }
        }
        Some(order)
    }
}

fn boot(root: &Path, order: &Order) -> Result<u8> {
    let mut build = Command::new("cargo");
    build.args(["build", "-p", "sitar"]).current_dir(root);
    if !order.dev {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the program does not build".into());
    }
    let program = if order.dev { crate::ci::target(root).join("debug/sitar") } else { release(root) };
    let folder = vm::folder(root);
    let kernel = Kernel::get(&folder, order.series)?;
    let mut guest = Guest::new(folder.join("run-systemd"))?;
    guest.file("start", 0o755, START.as_bytes());
    guest.kernel_arguments = "rdinit=/start systemd.show_status=no systemd.unified_cgroup_hierarchy=1";
    let mut disk = Disk { guest: &mut guest, libraries: BTreeSet::new() };
    disk.system(root, &program)?;
    let run = format!("only='{}'\n{CHECKS}", order.name.replace('\'', ""));
    Ok(guest.boot(&kernel, &run)?.code)
}

/// The root of the machine, which grows.
struct Disk<'g> {
    guest: &'g mut Guest,
    libraries: BTreeSet<PathBuf>,
}

impl Disk<'_> {
    fn system(&mut self, root: &Path, program: &Path) -> Result<()> {
        for name in MERGED {
            self.guest.link(&format!("{ROOT}/{name}"), &format!("usr/{name}"));
        }
        for name in PROGRAMS {
            let path = located(name).ok_or("a program has gone")?;
            self.program(&path, &path.to_string_lossy())?;
        }
        self.program(program, "/usr/bin/sitar")?;
        for library in LIBRARIES {
            self.program(Path::new(library), library)?;
        }
        for unit in UNITS {
            let path = format!("{UNIT_FOLDER}/{unit}");
            self.file(&path, &fs::read(&path)?);
        }
        for (wants, unit) in [
            ("sysinit.target", "systemd-journald.service"),
            ("sockets.target", "systemd-journald.socket"),
            ("sockets.target", "systemd-journald-dev-log.socket"),
        ] {
            self.link(&format!("{UNIT_FOLDER}/{wants}.wants/{unit}"), &format!("../{unit}"));
        }
        self.link(&format!("{UNIT_FOLDER}/default.target"), "multi-user.target");
        self.file("/etc/systemd/system/checks.service", SERVICE.as_bytes());
        self.link("/etc/systemd/system/multi-user.target.wants/checks.service", "../checks.service");
        for (path, text) in FILES {
            self.file(path, text.as_bytes());
        }
        for path in ["/etc/ssl/openssl.cnf", "/usr/lib/ssl/openssl.cnf"] {
            if let Ok(content) = fs::read(path) {
                self.file(path, &content);
            }
        }
        let packaging = root.join("packaging/systemd");
        for unit in ["sitar.service", "sitar.socket", "sitar-http.socket"] {
            self.file(&format!("{UNIT_FOLDER}/{unit}"), &fs::read(packaging.join(unit))?);
        }
        for drop_in in ["dynamic-user.conf", "separate-user.conf"] {
            self.file(&format!("/usr/share/sitar/{drop_in}"), &fs::read(packaging.join(drop_in))?);
        }
        self.file("/usr/lib/sysusers.d/sitar.conf", &fs::read(packaging.join("sitar.sysusers"))?);
        Ok(())
    }

    fn file(&mut self, path: &str, content: &[u8]) {
        self.guest.file(&placed(path), 0o644, content);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.guest.link(&placed(path), target);
    }

    /// A program or library, without its debug information, and the libraries that it needs.
    fn program(&mut self, program: &Path, path: &str) -> Result<()> {
        let content = self.guest.stripped(program)?;
        self.guest.file(&placed(path), 0o755, &content);
        let listed = Command::new("ldd").arg(program).output()?;
        for word in String::from_utf8(listed.stdout)?.split_whitespace() {
            let library = Path::new(word);
            if library.is_absolute() && self.libraries.insert(library.to_owned()) {
                self.guest.file(&placed(word), 0o755, &fs::read(library)?);
            }
        }
        Ok(())
    }
}

/// Returns where a program is: at its path, or on `PATH`.
fn located(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') { Some(PathBuf::from(name)).filter(|path| path.is_file()) } else { found(name) }
}

/// Returns the place of a path on the initial disk, where /usr has what else is a link to it.
fn placed(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let is_merged = path.split_once('/').is_some_and(|(first, _)| MERGED.contains(&first));
    if is_merged { format!("{ROOT}/usr/{path}") } else { format!("{ROOT}/{path}") }
}

const SERVICE: &str = "[Unit]
Description=Checks of sitar
After=basic.target

[Service]
ExecStart=/usr/bin/sh /usr/bin/checks
Environment=PATH=/usr/bin:/usr/sbin HOME=/root
";

/// Files of the machine that programs look for.
const FILES: [(&str, &str); 6] = [
    ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
    ("/etc/group", "root:x:0:\nsystemd-journal:x:101:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files systemd\ngroup: files systemd\nhosts: files\n"),
    ("/etc/os-release", "ID=sitar-checks\nNAME=checks\n"),
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Order> {
        Order::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_kernel_and_a_name_are_told_apart() {
        assert_eq!(parsed(""), Some(Order { series: "6.12", dev: false, name: String::new() }));
        let order = Order { series: "6.1", dev: true, name: "reload".into() };
        assert_eq!(parsed("6.1 --dev reload"), Some(order));
        for line in ["--fast", "reload upgrade"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_a_link_to_usr_is_placed_there() {
        assert_eq!(placed("/lib64/ld.so"), "system/usr/lib64/ld.so");
        assert_eq!(placed("/usr/bin/curl"), "system/usr/bin/curl");
        assert_eq!(placed("/library/a"), "system/library/a");
    }
}
