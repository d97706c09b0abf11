//! Verbs that are programs of their own, so that `ci` starts without compiling them.

use crate::{Invocation, ci, setup};
use std::process::{Command, ExitCode};

/// Runs the verb in `tests/external`.
pub(crate) fn external(invocation: &Invocation) -> ExitCode {
    let mut cargo = cargo(invocation);
    cargo.args(["run", "--quiet", "--package", "sitar-external", "--", invocation.name]);
    run(cargo.args(&invocation.args))
}

/// Runs the bench, in release, beside the release program and the servers to compare with.
pub(crate) fn bench(invocation: &Invocation) -> ExitCode {
    if let setup::Outcome::Incomplete(why) = setup::ensure(true) {
        println!("not everything is there: {why}");
    }
    release_bench(invocation, &[])
}

/// Runs the bench's `packs`, which needs no other servers.
pub(crate) fn packs(invocation: &Invocation) -> ExitCode {
    release_bench(invocation, &["packs"])
}

/// Builds, lints and tests the tool of `tools/connections` beside the release program. It is no
/// member of the workspace.
pub(crate) fn connections(invocation: &Invocation) -> ExitCode {
    if !setup::has_command("clang") {
        eprintln!("error: no clang; install clang, libelf-dev, zlib1g-dev, make and pkg-config");
        return ExitCode::FAILURE;
    }
    let target = ci::target(&invocation.root);
    let tool = |verb: &str, more: &[&str]| {
        let mut cargo = cargo(invocation);
        cargo.args([verb, "--locked", "--manifest-path", "tools/connections/Cargo.toml", "--target-dir"]);
        cargo.arg(target.join("connections")).args(more);
        cargo.env("SITAR_TEST_BINARY", target.join("release/sitar"));
        run(&mut cargo)
    };
    let mut build = cargo(invocation);
    build.args(["build", "--release", "--bin", "sitar"]);
    if run(&mut build) != ExitCode::SUCCESS
        || tool("clippy", &["--all-targets", "--", "-D", "warnings"]) != ExitCode::SUCCESS
    {
        return ExitCode::FAILURE;
    }
    tool("test", &[])
}

fn release_bench(invocation: &Invocation, verb: &[&str]) -> ExitCode {
    let mut build = cargo(invocation);
    // Together, so that both get the same features of their dependencies, and nothing is compiled
    // twice.
    build.args(["build", "--release", "-p", "sitar", "-p", "sitar-bench"]);
    if run(&mut build) != ExitCode::SUCCESS {
        return ExitCode::FAILURE;
    }
    let mut bench = Command::new(ci::target(&invocation.root).join("release/sitar-bench"));
    run(bench.args(verb).args(&invocation.args))
}

fn cargo(invocation: &Invocation) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&invocation.root);
    cargo
}

fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        // Errors of usage end with 2, as in all other verbs.
        Ok(status) => status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)),
        Err(error) => {
            eprintln!("error: {}: {error}", command.get_program().display());
            ExitCode::FAILURE
        }
    }
}
