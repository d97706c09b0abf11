//! `cargo xtask vm`: runs the tests of sitar-io under Debian's own kernels, emulated.
//!
//! The kernel packages are downloaded and unpacked under `target/vm`, never installed. QEMU boots one with an initial RAM
//! disk made here: busybox, the programs with their libraries, and a script. Output and exit code come back over virtio
//! ports. No KVM is needed; times mean nothing in there, counts and verdicts do.

mod cpio;

use self::cpio::Cpio;
use crate::Invocation;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Kernel series that Debian 12 has as packages, the oldest that sitar supports among them.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
const TIME_LIMIT: Duration = Duration::from_secs(900);
/// Tests that need a compiler or the checkout, or that no kernel has a part in.
const ELSEWHERE: [&str; 3] = ["compile_fail", "readme", "seeds"];
const PACKAGES: &str = "qemu-system-x86 busybox-static xz-utils";

/// The command: `cargo xtask vm [6.1|6.12]… [-- TEST ARGUMENTS]`.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let mut arguments = invocation.args.split(|argument| argument == "--");
    let mut kernels: Vec<&str> = arguments.next().unwrap_or_default().iter().map(String::as_str).collect();
    let pass_on = arguments.next().unwrap_or_default();
    if kernels.is_empty() {
        kernels = KERNELS.to_vec();
    }
    if kernels.iter().any(|kernel| !KERNELS.contains(kernel)) {
        eprintln!("usage: cargo xtask vm [6.1] [6.12] [-- ARGUMENTS OF THE TESTS]");
        return ExitCode::from(2);
    }
    for tool in ["qemu-system-x86_64", "busybox", "xz"] {
        if !crate::bench::on_path(tool) {
            eprintln!("error: {tool} is missing\nhint: apt-get install --no-install-recommends {PACKAGES}");
            return ExitCode::FAILURE;
        }
    }
    let mut failed = false;
    for kernel in kernels {
        match tests_under(&invocation.root, kernel, pass_on) {
            Ok(0) => println!("vm: kernel {kernel}: passed"),
            Ok(code) => {
                println!("vm: kernel {kernel}: FAILED with exit code {code}");
                failed = true;
            }
            Err(error) => {
                eprintln!("error: kernel {kernel}: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Boots `kernel` and runs every test program of sitar-io in it.
fn tests_under(root: &Path, kernel: &str, pass_on: &[String]) -> Result<u8> {
    let programs = test_programs(root)?;
    let mut script = String::from("export RUST_BACKTRACE=1\nfailed=0\n");
    for program in &programs {
        let name = name_of(program);
        let arguments: Vec<String> =
            pass_on.iter().map(|argument| format!("'{}'", argument.replace('\'', "'\\''"))).collect();
        // One at a time: emulated cores are slow, and deadlines of the tests are not.
        writeln!(script, "echo \"# {name}\"; /{name} --test-threads=2 {} || failed=1", arguments.join(" "))?;
    }
    script.push_str("exit $failed\n");
    boot(&root.join("target/vm"), kernel, &programs, &script)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn test_programs(root: &Path) -> Result<Vec<PathBuf>> {
    let done = Command::new("cargo")
        .args(["test", "-p", "sitar-io", "--lib", "--tests", "--no-run", "--message-format=json"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()?;
    if !done.status.success() {
        return Err("the tests do not build".into());
    }
    let mut programs = Vec::new();
    for line in String::from_utf8(done.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if let (Some(program), false) = (message["executable"].as_str(), ELSEWHERE.contains(&name)) {
            programs.push(PathBuf::from(program));
        }
    }
    Ok(programs)
}

/// Boots, runs `script`, prints what it prints, and returns its exit code.
fn boot(directory: &Path, series: &str, programs: &[PathBuf], script: &str) -> Result<u8> {
    fs::create_dir_all(directory)?;
    let kernel = kernel(directory, series)?;
    println!("vm: {}", name_of(&kernel));
    let run = directory.join(format!("run-{series}"));
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run)?;

    let mut disk = Cpio::default();
    disk.file("init", 0o755, INIT.as_bytes());
    disk.file("run", 0o755, script.as_bytes());
    for folder in ["proc", "sys", "dev", "tmp", "etc", "bin"] {
        disk.folder(folder);
    }
    disk.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n");
    let busybox = crate::bench::found("busybox").ok_or("busybox is missing")?;
    disk.file("bin/busybox", 0o755, &fs::read(busybox)?);
    for program in programs {
        disk.file(&name_of(program), 0o755, &fs::read(program)?);
        for library in libraries(program)? {
            disk.file(&library.to_string_lossy(), 0o755, &fs::read(&library)?);
        }
    }
    let mut order = String::new();
    for (name, content) in modules(&kernel)? {
        disk.file(&format!("modules/{name}"), 0o644, &content);
        writeln!(order, "{name}")?;
    }
    disk.file("modules/order", 0o644, order.as_bytes());
    let image = run.join("initrd");
    fs::write(&image, disk.finish())?;

    let (output, code, serial) = (run.join("output"), run.join("code"), run.join("serial"));
    let port = |id: &str, path: &Path| {
        let chardev = format!("file,id={id},path={}", path.display());
        [
            "-chardev".to_owned(),
            chardev,
            "-device".to_owned(),
            format!("virtserialport,chardev={id},name={id}"),
        ]
    };
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=multi",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
            "-nodefaults",
        ])
        .args(["-no-user-config", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(&kernel)
        .arg("-initrd")
        .arg(&image)
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"])
        .args(["-serial", &format!("file:{}", serial.display()), "-device", "virtio-serial-pci"])
        .args(port("output", &output))
        .args(port("code", &code))
        .stdin(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    while qemu.try_wait()?.is_none() {
        if start.elapsed() > TIME_LIMIT {
            let _ = qemu.kill();
            let _ = qemu.wait();
            print!("{}", String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()));
            return Err(format!("not finished after {} s", TIME_LIMIT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    print!("{}", String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()));
    let code = fs::read_to_string(&code).unwrap_or_default();
    match code.trim().parse() {
        Ok(code) => Ok(code),
        Err(_) => Err(format!("the guest died; its console is in {}", serial.display()).into()),
    }
}

/// Downloads and unpacks the newest kernel of a series, once.
fn kernel(directory: &Path, series: &str) -> Result<PathBuf> {
    let unpacked = directory.join(format!("kernel-{series}"));
    if let Some(kernel) = image_in(&unpacked) {
        return Ok(kernel);
    }
    let listed = Command::new("apt-cache")
        .args(["search", "--names-only", &format!("^linux-image-{series}[.][0-9.+a-z-]*cloud-amd64$")])
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let newest = listed.lines().filter_map(|line| line.split(' ').next()).max_by_key(|name| numbers(name));
    let newest = newest.ok_or(format!(
        "no package linux-image-{series}*-cloud-amd64; run apt-get update (Debian 12 has it)"
    ))?;
    let packages = directory.join(format!("package-{series}"));
    fs::create_dir_all(&packages)?;
    let done = Command::new("apt-get").args(["download", newest]).current_dir(&packages).status()?;
    if !done.success() {
        return Err(format!("apt-get download {newest} failed").into());
    }
    for package in fs::read_dir(&packages)? {
        let done = Command::new("dpkg").arg("-x").arg(package?.path()).arg(&unpacked).status()?;
        if !done.success() {
            return Err(format!("{newest} could not be unpacked").into());
        }
    }
    image_in(&unpacked).ok_or_else(|| format!("{newest} holds no kernel").into())
}

/// What a kernel may not have built in.
const MODULES: [&str; 6] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
];

/// Those of [`MODULES`] that this kernel has as modules, unpacked.
fn modules(kernel: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let root = kernel.ancestors().nth(2).ok_or("a kernel outside of its package")?;
    let listed = Command::new("find").arg(root.join("lib/modules")).args(["-name", "*.ko*"]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let mut found = Vec::new();
    for wanted in MODULES {
        let wanted = format!("{wanted}.ko");
        let Some(path) =
            listed.lines().find(|path| name_of(Path::new(path)).trim_end_matches(".xz") == wanted)
        else {
            continue;
        };
        let content = if path.ends_with(".xz") {
            Command::new("xz").arg("-dc").arg(path).output()?.stdout
        } else {
            fs::read(path)?
        };
        found.push((wanted, content));
    }
    Ok(found)
}

fn image_in(unpacked: &Path) -> Option<PathBuf> {
    let images = fs::read_dir(unpacked.join("boot")).ok()?;
    images
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| name_of(path).starts_with("vmlinuz-"))
}

/// The numbers in a name, so that .117 is newer than .99.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The shared libraries of a program, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("ldd").arg(program).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
ln -sf /proc/self/fd /dev/fd
# Again and again: what one needs of another differs between kernels.
for i in 1 2 3; do for m in $(cat /modules/order); do insmod /modules/$m 2>/dev/null; done; done
ip link set lo up; ulimit -n 200000
port() { for d in /sys/class/virtio-ports/*; do [ "$(cat $d/name)" = $1 ] && echo /dev/${d##*/}; done; }
cd /tmp
sh /run >"$(port output)" 2>&1 </dev/null
echo $? >"$(port code)"
sync
reboot -f
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_number() {
        let names = ["linux-image-6.12.99+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"];
        assert_eq!(names.iter().max_by_key(|name| numbers(name)), Some(&names[1]));
    }
}
