//! `cargo xtask asan` and `cargo xtask miri`: sitar-io's tests under tools that check memory.

use crate::Invocation;
use std::process::{Command, ExitCode, Stdio};

/// Runs the tests on the real kernel under AddressSanitizer. It sees heap memory: regions, tables,
/// scratch; the arena is a mapping.
pub(crate) fn asan(invocation: &Invocation) -> ExitCode {
    let Some(host) = host() else {
        eprintln!("error: rustc does not say which machine it is for");
        return ExitCode::FAILURE;
    };
    let mut command = Command::new("cargo");
    // The sanitizer is an unstable flag; RUSTC_BOOTSTRAP allows it on a stable compiler, for this
    // run only.
    command
        .args([
            "test",
            "-p",
            "sitar-io",
            "--lib",
            "--tests",
            "--target",
            &host,
            "--target-dir",
            "target/asan",
        ])
        .args(&invocation.args)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .current_dir(&invocation.root);
    finish(&mut command)
}

/// The tests that Miri runs unless others are named: seeds with all their faults, and teardown at
/// every point.
const UNDER_MIRI: [&str; 3] =
    ["no_seed_loses_anything", "a_ring_can_be_dropped_at_every_turn", "a_panic_in_the_loop_is_a_drop"];

/// Runs the simulated engine under Miri.
pub(crate) fn miri(invocation: &Invocation) -> ExitCode {
    let mut probe = Command::new("cargo");
    probe.args(["+nightly", "miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!(
            "skipped: miri: this toolchain's nightly has no Miri; `rustup +nightly component add miri` adds it"
        );
        return ExitCode::SUCCESS;
    }
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "miri", "test", "-p", "sitar-io", "--test", "seeds"])
        .args(if invocation.args.is_empty() { [&["--"][..], &UNDER_MIRI].concat() } else { Vec::new() })
        .args(&invocation.args)
        .env("SITAR_SEEDS", std::env::var_os("SITAR_SEEDS").unwrap_or_else(|| "6".into()))
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .current_dir(&invocation.root);
    finish(&mut command)
}

fn finish(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: cargo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn host() -> Option<String> {
    let said = Command::new("rustc").arg("-vV").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}
