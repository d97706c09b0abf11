//! The project's own commands, run as `cargo xtask <command>`.
//!
//! `ci` is the whole truth: whatever a machine checks, a developer checks with the same words.

mod authorities;
mod ci;
mod debian;
mod forward;
mod full;
mod fuzz;
mod instructions;
mod media;
mod metadata;
mod program;
mod sanitize;
mod setup;
mod systemd;
mod tidy;
mod tree;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

/// Every command: its name, what `cargo xtask` prints about it, and what it runs.
const COMMANDS: &[(&str, &str, Command)] = &[
    ("ci", "everything a machine can check, with a summary (runs setup first)", ci::run),
    (
        "full",
        "what takes too long for ci or needs other people's programs, with a summary: before a release",
        full::run,
    ),
    (
        "tidy",
        "the floor plan and the house rules: dependencies, lints, file lengths, columns, paths",
        tidy::run,
    ),
    (
        "setup",
        "install the packages that only tests need (Debian and Ubuntu; --bench adds the servers to compare with)",
        setup::run,
    ),
    (
        "bench",
        "CPU, latency and memory beside a floor and peers (--help; engines and balance instead)",
        forward::bench,
    ),
    (
        "instructions",
        "instructions of a warm request, counted by callgrind and held against what is expected",
        instructions::run,
    ),
    (
        "large",
        "the first answer from a tar of 1 GiB, and 200 downloads of a file of 20 GiB: time and memory",
        forward::external,
    ),
    (
        "docs-sites",
        "every file of two large documentation sites over HTTPS, byte for byte",
        forward::external,
    ),
    (
        "floods",
        "a client that behaves, beside each flood of HTTP/2: its answers, the server's memory (--seconds N, --only NAME)",
        forward::external,
    ),
    (
        "crowds",
        "a client beside crowds that take places, descriptors, the loading of files: its times (--requests N, --only NAME)",
        forward::external,
    ),
    (
        "hosts",
        "the price of several hosts: a warm request, the start of 1,000 packs, a renewal's first handshake (--only NAME)",
        forward::external,
    ),
    (
        "compression",
        "bytes sent for three sites that are folders, and the CPU for it, beside nginx and Caddy (needs setup --bench)",
        forward::external,
    ),
    (
        "processes",
        "what supervisor, worker and sandbox cost: memory, wake-ups, starts, a kill, an upgrade (--idle-seconds N)",
        forward::external,
    ),
    (
        "connections",
        "the tool that joins probes and TCP: built and tested beside a server (needs root and clang)",
        forward::connections,
    ),
    (
        "fuzz",
        "every fuzz target under libFuzzer (--quick: 60 s each, --seconds N; needs cargo-fuzz)",
        fuzz::command,
    ),
    ("tlsfuzzer", "tlsfuzzer's scripts against sitar, from a checkout that is given", forward::external),
    (
        "redbot",
        "what REDbot says about the answers for files of each kind (from PyPI, under target/)",
        forward::external,
    ),
    (
        "generators",
        "sites of Hugo, Vite and Docusaurus in Chromium: every asset, the console, pictures (uses npm, under target/)",
        forward::external,
    ),
    ("media", "the table of media types, from the db.json of a release of mime-db", media::command),
    ("packs", "how long packing takes, and how soon a pack and a plain tar answer", forward::packs),
    ("asan", "the tests of sitar-io under AddressSanitizer", sanitize::asan),
    ("miri", "the seeds of sitar-io under Miri, where the nightly toolchain has it", sanitize::miri),
    (
        "lab-bench",
        "instructions per request beside nginx, h2o and lighttpd, counted in the kernel lab",
        vm::bench,
    ),
    (
        "systemd",
        "the units and the program under a real systemd, emulated: sockets, notify, watchdog, reload, upgrade",
        systemd::run,
    ),
    (
        "vm",
        "tests of sitar-io and of the whole program under Debian's kernels 6.1 and 6.12, emulated",
        vm::run,
    ),
];

type Command = fn(&Invocation) -> ExitCode;

/// The root and the arguments of a command.
struct Invocation {
    /// The command's name.
    name: &'static str,
    /// The workspace's root directory.
    root: PathBuf,
    /// Arguments after the command's name.
    args: Vec<String>,
}

fn main() -> ExitCode {
    if let Some(code) = ci::lints::rustdoc() {
        return code;
    }
    let mut args = std::env::args().skip(1);
    let wanted = args.next().unwrap_or_default();
    let Some((name, _, command)) = COMMANDS.iter().find(|(known, _, _)| *known == wanted) else {
        if !wanted.is_empty() {
            eprintln!("error: there is no `cargo xtask {wanted}`");
        }
        eprintln!("usage: cargo xtask <command>\n");
        for (known, about, _) in COMMANDS {
            eprintln!("  {known:<12} {about}");
        }
        return ExitCode::from(2);
    };
    let Some(root) = workspace_root() else {
        eprintln!("error: the folder of xtask has no parent that is the workspace");
        return ExitCode::FAILURE;
    };
    command(&Invocation { name, root, args: args.collect() })
}

/// The checkout: cargo tells a running package where its manifest is, and the compiler remembers it
/// otherwise.
fn workspace_root() -> Option<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(PathBuf::from)
}
