//! Packages that only the tests need. The server itself needs a Rust toolchain and a C compiler.

use crate::{Invocation, authorities, vm};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The outcome of a setup.
pub(crate) enum Outcome {
    /// Nothing was missing.
    Complete,
    /// These packages were missing and are installed now.
    Installed(Vec<&'static str>),
    /// These are missing still, for a reason; the tests that need them skip themselves and say so.
    Incomplete(String),
}

/// Installs what is missing. Safe to repeat.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let bench = match invocation.args.as_slice() {
        [] => false,
        [arg] if arg == "--bench" => true,
        _ => {
            eprintln!("usage: cargo xtask setup [--bench]");
            return ExitCode::from(2);
        }
    };
    match ensure(bench) {
        Outcome::Complete => println!("setup: every package is there"),
        Outcome::Installed(packages) => println!("setup: installed {}", packages.join(" ")),
        Outcome::Incomplete(reason) => {
            eprintln!("error: {reason}");
            return ExitCode::FAILURE;
        }
    }
    if !has_cargo_deny() {
        println!("setup: {DENY_HINT}");
    }
    // Not a failure: without them only the tests in the kernel lab are skipped.
    for series in vm::SERIES {
        match vm::Kernel::get(&vm::folder(&invocation.root), series) {
            Ok(kernel) => println!("setup: kernel {series} for the lab: {}", kernel.image.display()),
            Err(error) => println!("setup: no kernel {series} for the lab: {error}"),
        }
    }
    for missing in authorities::ensure(&invocation.root) {
        println!("setup: {missing}; the tests of ACME that need it are skipped");
    }
    ExitCode::SUCCESS
}

/// Installs the packages whose command or files are absent.
pub(crate) fn ensure(bench: bool) -> Outcome {
    let missing = missing(bench);
    if missing.is_empty() {
        return Outcome::Complete;
    }
    if let Err(reason) = install(&missing) {
        return Outcome::Incomplete(format!("{} missing and not installed: {reason}", missing.join(" ")));
    }
    let still = self::missing(bench);
    if still.is_empty() {
        return Outcome::Installed(missing);
    }
    Outcome::Incomplete(format!("{} missing although apt-get reported success", still.join(" ")))
}

/// Whether the licence and ban checks can run.
pub(crate) fn has_cargo_deny() -> bool {
    quiet("cargo", &["deny", "--version"])
}

/// The hint where cargo-deny is absent. It is not installed unasked: it takes several minutes to
/// build on two cores.
pub(crate) const DENY_HINT: &str =
    "cargo-deny is absent; `cargo install --locked cargo-deny` (minutes, not seconds) turns its step on";

fn missing(bench: bool) -> Vec<&'static str> {
    let packages = PACKAGES.iter().chain(if bench { BENCH_PACKAGES } else { &[] });
    packages.filter(|(_, sign)| !sign.is_there()).map(|(package, _)| *package).collect()
}

fn install(packages: &[&str]) -> Result<(), String> {
    if !has_command("apt-get") {
        let what = packages.join(" ");
        return Err(format!("this is not Debian or Ubuntu; install what your system calls {what}"));
    }
    let by_hand = format!("type `sudo apt-get install {}`", packages.join(" "));
    if !may_install() {
        return Err(format!("not root, and sudo would ask for a password; {by_hand}"));
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    // The lists may be absent or old: fetch them once, then the second failure is final.
    if apt_get(&install) || (update_package_lists() && apt_get(&install)) {
        return Ok(());
    }
    Err(format!("apt-get failed (see above); {by_hand}"))
}

/// Fetches the lists of Debian's packages, where that is possible without asking anybody.
pub(crate) fn update_package_lists() -> bool {
    has_command("apt-get") && may_install() && apt_get(&["update"])
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn may_install() -> bool {
    // `-n`: never ask for a password in the middle of a run.
    is_root() || quiet("sudo", &["-n", "true"])
}

fn apt_get(args: &[&str]) -> bool {
    let root = is_root();
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    }
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The sign by which a package is seen to be there.
enum Sign {
    /// A command on the path.
    Command(&'static str),
    /// A file or folder.
    Path(&'static str),
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Sign::Command(name) => has_command(name),
            Sign::Path(path) => Path::new(path).exists(),
        }
    }
}

pub(crate) fn has_command(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn quiet(command: &str, args: &[&str]) -> bool {
    let mut command = Command::new(command);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

const PACKAGES: &[(&str, Sign)] = &[
    ("bpftrace", Sign::Command("bpftrace")),
    ("brotli", Sign::Command("brotli")),
    ("busybox-static", Sign::Command("busybox")),
    ("ca-certificates", Sign::Path("/etc/ssl/certs")),
    ("chromium", Sign::Command("chromium")),
    ("curl", Sign::Command("curl")),
    ("fail2ban", Sign::Command("fail2ban-regex")),
    ("gcc", Sign::Command("gcc")),
    ("goaccess", Sign::Command("goaccess")),
    ("haproxy", Sign::Path("/usr/sbin/haproxy")),
    ("libc6-dev", Sign::Path("/usr/include/stdio.h")),
    ("libnss3-tools", Sign::Command("certutil")),
    ("linux-perf", Sign::Command("perf")),
    ("nghttp2-client", Sign::Command("h2load")),
    ("openssl", Sign::Command("openssl")),
    ("prometheus", Sign::Command("promtool")),
    ("python3", Sign::Command("python3")),
    ("python3-cryptography", Sign::Path("/usr/lib/python3/dist-packages/cryptography")),
    ("python3-h2", Sign::Path("/usr/lib/python3/dist-packages/h2")),
    ("python3-hpack", Sign::Path("/usr/lib/python3/dist-packages/hpack")),
    ("python3-httpx", Sign::Path("/usr/lib/python3/dist-packages/httpx")),
    ("python3-prometheus-client", Sign::Path("/usr/lib/python3/dist-packages/prometheus_client")),
    ("python3-doc", Sign::Path("/usr/share/doc/python3-doc/html/index.html")),
    ("qemu-system-x86", Sign::Command("qemu-system-x86_64")),
    ("strace", Sign::Command("strace")),
    ("systemd", Sign::Command("systemd-analyze")),
    ("valgrind", Sign::Command("valgrind")),
    ("wget", Sign::Command("wget")),
    ("wrk", Sign::Command("wrk")),
    ("xz-utils", Sign::Command("xz")),
    ("zstd", Sign::Command("zstd")),
];
const BENCH_PACKAGES: &[(&str, Sign)] = &[
    ("caddy", Sign::Command("caddy")),
    ("debian-handbook", Sign::Path("/usr/share/doc/debian-handbook/html/en-US/index.html")),
    ("h2o", Sign::Command("h2o")),
    ("lighttpd", Sign::Path("/usr/sbin/lighttpd")),
    ("lighttpd-mod-openssl", Sign::Path("/usr/lib/lighttpd/mod_openssl.so")),
    ("nginx-light", Sign::Path("/usr/sbin/nginx")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_seen_or_not() {
        assert!(Sign::Command("sh").is_there());
        assert!(!Sign::Command("no-such-command-at-all").is_there());
        assert!(Sign::Path("/").is_there());
        assert!(!Sign::Path("/no/such/path").is_there());
    }

    #[test]
    fn a_failing_command_is_not_success() {
        assert!(quiet("true", &[]));
        assert!(!quiet("false", &[]));
        assert!(!quiet("no-such-command-at-all", &[]));
    }
}
