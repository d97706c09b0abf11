//! `cargo xtask vm`: tests under Debian's own kernels, emulated.
//!
//! Two suites. `io`: the tests of sitar-io. `lab`: tests of the whole program that need a kernel
//! with TLS (`tests/lab.rs`), and those of the sandbox (`tests/sandbox.rs`), with the release
//! program and real clients beside them.
//!
//! The kernel packages are downloaded and unpacked under `target/vm`, never installed. QEMU boots
//! one with an initial RAM disk made here: busybox, the programs with their libraries, and a
//! script. Output and exit code come back over virtio ports. No KVM is needed; times mean nothing
//! in there, counts and verdicts do.
//!
//! virtme-ng does the same for kernels that are built or installed on the host. It is not used,
//! because it has to be installed itself, with Python, and its guest's root is the host's file
//! system: this one holds only what was put into it.

mod bench;
mod cpio;
mod guest;
mod kernel;

pub(crate) use self::bench::command as bench;
pub(crate) use self::guest::{Finished, Guest};
pub(crate) use self::kernel::{Kernel, SERIES, series};
use crate::Invocation;
use crate::ci::programs::{self, Compiled};
use crate::program::{on_path, release};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Tests of sitar-io that need a compiler or the checkout.
const ELSEWHERE: &str = "--skip compile_fail:: --skip readme::";
/// Its tests that run on a simulated kernel only.
const SIMULATED: &str = "seeds";
/// The test program of tests/.
pub(crate) const PROGRAM: &str = "program";
/// The module of tests/ whose tests need a kernel with TLS. The suite of this name has those of
/// [`SANDBOX`], too.
pub(crate) const LAB: &str = "lab";
/// The module of tests/ whose outcome depends on the kernel's version.
const SANDBOX: &str = "sandbox";
/// A part of it that traces programs, which takes minutes in there. `--test sandbox` runs it.
const TRACED: &str = "sandbox::calls";
/// Clients that the lab takes along where this machine has them.
const CLIENTS: [&str; 5] = ["curl", "openssl", "wrk", "perf", "strace"];

const USAGE: &str = "usage: cargo xtask vm [6.1] [6.12] [7.2] [--suite io|lab] [--test NAME] [--script FILE] [--dev] [-- ARGUMENTS OF THE TESTS]

  --suite io|lab  the tests of sitar-io, or those of tests/lab.rs and tests/sandbox.rs; both without it
  --test NAME     in the lab, another module of tests/
  --script FILE   in the lab, a shell script in place of tests; the program is `sitar`
  --dev           in the lab, the program of the dev profile, which is built sooner
  -- NAME         only the tests with NAME in their names; libtest's options go here, too";

/// The program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Suite {
    /// The tests of sitar-io.
    Io,
    /// A module of tests/.
    Lab { module: String, dev: bool },
    /// A script with the same things at hand.
    Script { file: PathBuf, dev: bool },
}

/// The command line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    kernels: Vec<&'static str>,
    suites: Vec<Suite>,
    /// Arguments for the test programs.
    arguments: Vec<String>,
}

/// The command.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let Some(order) = Order::parse(&invocation.args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(missing) = missing_tool() {
        eprintln!("error: {missing}");
        return ExitCode::FAILURE;
    }
    let mut failed = false;
    // One after the other: two at once would take each other's cores.
    for (series, suite) in
        order.kernels.iter().flat_map(|series| order.suites.iter().map(move |suite| (series, suite)))
    {
        let start = Instant::now();
        let ended = Kernel::get(&folder(&invocation.root), series)
            .and_then(|kernel| suite.run(&invocation.root, series, &kernel, &order.arguments));
        let seconds = start.elapsed().as_secs();
        match ended {
            Ok(Finished { code: 0, .. }) => println!("vm: kernel {series}: passed in {seconds} s"),
            Ok(Finished { code, .. }) => {
                println!("vm: kernel {series}: FAILED with exit code {code}");
                failed = true;
            }
            Err(error) => {
                eprintln!("error: kernel {series}: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Builds the test program of tests/; `config` is for cargo. Returns the number of warnings, too.
///
/// # Errors
/// It does not build.
pub(crate) fn lab_program(root: &Path, config: &[&str]) -> Result<(PathBuf, usize)> {
    // The whole workspace's features, as in `cargo test --workspace`, so that nothing is built
    // twice.
    let which = [&["--workspace", "--test", PROGRAM], config].concat();
    let Compiled { mut programs, warnings } = programs::build(root, &which)?;
    match programs.pop() {
        Some(program) if programs.is_empty() => Ok((program.path, warnings)),
        _ => Err("not one test program".into()),
    }
}

/// How much of the tests is run, and on what.
#[derive(Clone, Copy, Default)]
pub(crate) struct Size<'s> {
    /// With the program of the dev profile.
    pub(crate) dev: bool,
    /// The value of `SITAR_SAMPLE`, which divides what is large.
    pub(crate) sample: Option<&'s str>,
}

/// The tests of a module under one kernel, with a program from [`lab_program`] and the release
/// program, or that of the dev profile. [`LAB`] is the one that is meant for it.
///
/// # Errors
/// The guest could not be made, died, or did not end.
pub(crate) fn lab(
    root: &Path,
    series: &str,
    kernel: &Kernel,
    program: &Path,
    module: &str,
    size: Size<'_>,
    arguments: &[String],
) -> Result<Finished> {
    let mut guest = guest(root, series, kernel)?;
    guest.program(program, "tests/program")?;
    let Size { dev, sample } = size;
    with_clients(root, &mut guest, dev)?;
    let arguments = quoted(&narrowed(program, module, arguments)?);
    let run = format!("/tests/program {arguments}; code=$?; cat $SITAR_SKIPPED_FILE; exit $code\n");
    // One test at a time: emulated cores are slow, and the tests' deadlines are not.
    // `--test-threads` overrules it.
    let sample = sample.map(|sample| format!("export SITAR_SAMPLE={sample}\n")).unwrap_or_default();
    guest.boot(kernel, &format!("{ONE_AT_A_TIME}{INSIDE}{sample}{run}"))
}

/// Returns arguments with which the test program runs the tests of a module that `arguments`
/// select, and no others. libtest runs each test that any filter matches, so the module cannot be
/// one more filter: the program lists the tests here, and the guest gets their names.
fn narrowed(program: &Path, module: &str, arguments: &[String]) -> Result<Vec<String>> {
    let listed = Command::new(program).args(arguments).arg("--list").stderr(Stdio::inherit()).output()?;
    if !listed.status.success() {
        return Err("the test program does not list its tests".into());
    }
    let names = listed_in(module, &String::from_utf8(listed.stdout)?);
    if names.is_empty() {
        return Err(format!("`{}` selects no test of {module}::", arguments.join(" ")).into());
    }
    // Given twice, libtest refuses it.
    let exact = (!arguments.iter().any(|argument| argument == "--exact")).then(|| "--exact".to_owned());
    Ok(arguments.iter().cloned().chain(exact).chain(names).collect())
}

/// Returns the names of a module's tests in what libtest prints for `--list`. [`LAB`] stands for
/// its own and those of [`SANDBOX`] without [`TRACED`].
fn listed_in(module: &str, list: &str) -> Vec<String> {
    let is_in = |name: &str, module: &str| name.starts_with(&format!("{module}::"));
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let of_lab = |name: &str| is_in(name, SANDBOX) && !is_in(name, TRACED);
    let names = names.filter(|name| is_in(name, module) || module == LAB && of_lab(name));
    names.map(str::to_owned).collect()
}

fn guest(root: &Path, series: &str, kernel: &Kernel) -> Result<Guest> {
    println!("vm: Linux {}", kernel.release());
    Guest::new(folder(root).join(format!("run-{series}")))
}

/// Returns the folder in which kernels are kept.
pub(crate) fn folder(root: &Path) -> PathBuf {
    crate::ci::target(root).join("vm")
}

/// Returns the message for a machine without an emulator.
pub(crate) fn missing_tool() -> Option<String> {
    let tools = ["qemu-system-x86_64", "busybox", "xz", "apt-get", "dpkg"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| !on_path(tool)).collect();
    let hint = "`cargo xtask setup` installs qemu-system-x86, busybox-static and xz-utils on Debian";
    (!missing.is_empty()).then(|| format!("no {} on this machine; {hint}", missing.join(", ")))
}

impl Order {
    fn parse(arguments: &[String]) -> Option<Order> {
        let mut order = Order { kernels: Vec::new(), suites: Vec::new(), arguments: Vec::new() };
        let dev =
            arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--dev");
        let lab = |module: &str| Suite::Lab { module: module.to_owned(), dev };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--" => order.arguments = arguments.by_ref().cloned().collect(),
                "--dev" => {}
                "--suite" => order.suites.push(match arguments.next()?.as_str() {
                    "io" => Suite::Io,
                    "lab" => lab(LAB),
                    _ => return None,
                }),
                "--test" => order.suites.push(lab(arguments.next()?)),
                "--script" => order.suites.push(Suite::Script { file: arguments.next()?.into(), dev }),
                name => order.kernels.push(series(name)?),
            }
        }
        if order.kernels.is_empty() {
            order.kernels = SERIES.to_vec();
        }
        if order.suites.is_empty() {
            order.suites = vec![Suite::Io, lab(LAB)];
        }
        Some(order)
    }
}

impl Suite {
    fn run(&self, root: &Path, series: &str, kernel: &Kernel, arguments: &[String]) -> Result<Finished> {
        let (guest, script) = match self {
            Suite::Io => {
                let which = ["-p", "sitar-io", "--lib", "--tests"];
                let Compiled { mut programs, .. } = programs::build(root, &which)?;
                programs.retain(|program| program.name != SIMULATED);
                let mut guest = guest(root, series, kernel)?;
                let mut script = String::from("export RUST_BACKTRACE=1 RUST_TEST_THREADS=2; failed=0\n");
                for program in programs {
                    let name = name_of(&program.path);
                    guest.program(&program.path, &format!("tests/{name}"))?;
                    let arguments = quoted(arguments);
                    writeln!(script, "echo '# {name}'; /tests/{name} {ELSEWHERE} {arguments} || failed=1")?;
                }
                script.push_str("exit $failed\n");
                (guest, script)
            }
            Suite::Lab { module, dev } => {
                return lab(
                    root,
                    series,
                    kernel,
                    &lab_program(root, &[])?.0,
                    module,
                    Size { dev: *dev, sample: None },
                    arguments,
                );
            }
            Suite::Script { file, dev } => {
                let mut guest = guest(root, series, kernel)?;
                with_clients(root, &mut guest, *dev)?;
                guest.file("script", 0o755, &std::fs::read(file)?);
                (guest, format!("{ONE_AT_A_TIME}{INSIDE}. /script\n"))
            }
        };
        guest.boot(kernel, &script)
    }
}

/// The program and those who talk to it.
fn with_clients(root: &Path, guest: &mut Guest, dev: bool) -> Result<()> {
    let arguments: &[&str] = if dev {
        &["build", "--workspace", "--bin", "sitar"]
    } else {
        &["build", "--release", "-p", "sitar"]
    };
    if !Command::new("cargo").args(arguments).current_dir(root).status()?.success() {
        return Err("the program does not build".into());
    }
    let program = if dev { crate::ci::target(root).join("debug/sitar") } else { release(root) };
    guest.program(&program, "bin/sitar")?;
    for name in CLIENTS {
        // A test that needs one which is not there skips itself and says so.
        guest.command(name)?;
    }
    guest.python()?;
    // Counts allocations of a program that it is loaded into; there is no compiler in the guest.
    let library = folder(root).join("malloc_count.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(root.join("tests/malloc_count.c"));
    if cc.status().is_ok_and(|status| status.success()) {
        guest.file("lib/malloc_count.so", 0o755, &std::fs::read(&library)?);
    }
    // Where Debian's OpenSSL looks for its configuration.
    guest.copy("/etc/ssl/openssl.cnf")?;
    guest.copy("/usr/lib/ssl/openssl.cnf")
}

fn quoted(arguments: &[String]) -> String {
    let quoted: Vec<String> =
        arguments.iter().map(|argument| format!("'{}'", argument.replace('\'', "'\\''"))).collect();
    quoted.join(" ")
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

const ONE_AT_A_TIME: &str = "export RUST_BACKTRACE=1 RUST_TEST_THREADS=1\n";
/// `SITAR_LAB`: what the tests ask for has to be there, so that none of them skips itself for want
/// of it.
const INSIDE: &str =
    "export SITAR_LAB=1 SITAR_MALLOC_COUNT=/lib/malloc_count.so SITAR_TEST_BINARY=/bin/sitar SITAR_SKIPPED_FILE=/tmp/skipped; : >$SITAR_SKIPPED_FILE
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Order> {
        Order::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_everything_runs_everywhere() {
        let order = parsed("").unwrap();
        assert_eq!(order.kernels, ["6.1", "6.12"]);
        assert_eq!(order.suites, [Suite::Io, Suite::Lab { module: "lab".into(), dev: false }]);
        assert!(order.arguments.is_empty());
    }

    #[test]
    fn a_kernel_a_suite_and_arguments_are_told_apart() {
        let order = parsed("--suite lab 6.12 --dev -- --exact 6.1 --dev").unwrap();
        assert_eq!(order.kernels, ["6.12"]);
        assert_eq!(order.suites, [Suite::Lab { module: "lab".into(), dev: true }]);
        assert_eq!(order.arguments, ["--exact", "6.1", "--dev"]);
        let order = parsed("--test clients --script try.sh").unwrap();
        let expected = [
            Suite::Lab { module: "clients".into(), dev: false },
            Suite::Script { file: "try.sh".into(), dev: false },
        ];
        assert_eq!(order.suites, expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(parsed("7.2").unwrap().kernels, ["7.2"]);
        for line in ["5.10", "--suite", "--suite tls", "--test", "--fast"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn only_tests_of_the_module_are_taken_from_a_list() {
        let list = "clients::lab::a: test\nlab::b: test\nlab::sealer::c: test\nlab::d: benchmark\nlabels::e: test\nsandbox::f: test\nsandbox::calls::g: test\n\n5 tests, 1 benchmark\n";
        assert_eq!(listed_in("lab", list), ["lab::b", "lab::sealer::c", "sandbox::f"]);
        assert_eq!(listed_in("sandbox", list), ["sandbox::f", "sandbox::calls::g"]);
        assert!(listed_in("none", list).is_empty());
    }

    #[test]
    fn arguments_reach_the_guest_as_they_were_written() {
        assert_eq!(quoted(&["a b".into(), "it's".into()]), r"'a b' 'it'\''s'");
    }
}
