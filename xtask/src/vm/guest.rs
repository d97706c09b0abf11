//! A guest: an initial RAM disk made of files of this machine, and QEMU that boots it.

use super::cpio::Cpio;
use super::kernel::Kernel;
use super::{Result, name_of};
use crate::program::found;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The result of a guest.
pub(crate) struct Finished {
    /// Standard output and errors of the script, in the order in which they were written.
    pub(crate) output: String,
    /// The exit code of the script.
    pub(crate) code: u8,
}

/// The disk of a guest, filled by its user; then [`Guest::boot`].
pub(crate) struct Guest {
    disk: Cpio,
    /// A folder of its own below `target/vm`.
    folder: PathBuf,
    /// Libraries that are on the disk.
    libraries: BTreeSet<PathBuf>,
    /// QEMU's accelerator.
    pub(crate) accelerator: &'static str,
    /// More arguments for QEMU.
    pub(crate) qemu: Vec<String>,
    /// More arguments for the kernel.
    pub(crate) kernel_arguments: &'static str,
    pub(crate) time_limit: Duration,
    /// Whether the output is shown while it comes.
    pub(crate) echo: bool,
}

impl Guest {
    /// A disk with busybox, a few files that programs look for, and nothing else.
    pub(crate) fn new(folder: PathBuf) -> Result<Guest> {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut disk = Cpio::default();
        disk.file("init", 0o755, INIT.as_bytes());
        for name in ["proc", "sys", "dev", "tmp", "etc", "bin", "root"] {
            disk.folder(name);
        }
        disk.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n");
        disk.file("etc/nsswitch.conf", 0o644, b"hosts: files\n");
        disk.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
        );
        disk.file("etc/group", 0o644, b"root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n");
        let libraries = BTreeSet::new();
        let mut guest = Guest {
            disk,
            folder,
            libraries,
            accelerator: "tcg,thread=multi",
            qemu: Vec::new(),
            kernel_arguments: "",
            time_limit: TIME_LIMIT,
            echo: true,
        };
        if !guest.command("busybox")? {
            return Err("busybox is missing".into());
        }
        Ok(guest)
    }

    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.disk.file(name, mode, content);
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.disk.link(name, target);
    }

    /// Puts a program at `name`, without its debug information, and the shared libraries that it
    /// needs.
    pub(crate) fn program(&mut self, program: &Path, name: &str) -> Result<()> {
        let content = self.stripped(program)?;
        self.disk.file(name, 0o755, &content);
        self.libraries_of(&[program.to_owned()])
    }

    /// Returns a program without its debug information.
    pub(crate) fn stripped(&self, program: &Path) -> Result<Vec<u8>> {
        let stripped = self.folder.join("stripped");
        let strip = Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program).output();
        let small = strip.is_ok_and(|output| output.status.success());
        let content = fs::read(if small { &stripped } else { program })?;
        let _ = fs::remove_file(&stripped);
        Ok(content)
    }

    /// Puts a command of this machine where `PATH` finds it in the guest. `false` when this machine
    /// has none.
    pub(crate) fn command(&mut self, name: &str) -> Result<bool> {
        let Some(program) = found(name) else { return Ok(false) };
        self.program(&program, &format!("bin/{name}"))?;
        Ok(true)
    }

    /// Puts a file at the path that it has here, if it is there.
    pub(crate) fn copy(&mut self, path: &str) -> Result<()> {
        if Path::new(path).is_file() {
            self.disk.file(path, 0o644, &fs::read(path)?);
        }
        Ok(())
    }

    /// Puts the programs and libraries of a folder, not of those in it, at their own paths, if the
    /// folder is there.
    pub(crate) fn modules_of(&mut self, folder: &str) -> Result<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.is_file() {
                self.program(&path, &path.to_string_lossy())?;
            }
        }
        Ok(())
    }

    /// Python with the part of its library that talks to a network. `false` when this machine has
    /// none.
    pub(crate) fn python(&mut self) -> Result<bool> {
        // Debian's own before another that may come first in the path: it is the one that setup
        // installs.
        let python = Path::new("/usr/bin/python3");
        let python = if python.exists() { Some(python.to_owned()) } else { found("python3") };
        let Some(python) = python else { return Ok(false) };
        let ask = "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); \
                   print(sysconfig.get_path('stdlib')); print(sys.implementation.cache_tag)";
        let said = String::from_utf8(Command::new(&python).args(["-I", "-c", ask]).output()?.stdout)?;
        let [program, library, version] = said.lines().collect::<Vec<_>>()[..] else {
            return Err(format!("{} does not say where its library is", python.display()).into());
        };
        // At its own path: it finds its library from there.
        self.program(Path::new(program), program)?;
        self.disk.link("bin/python3", program);
        let mut extensions = Vec::new();
        let mut folders = vec![PathBuf::from(library)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = name_of(&path);
                if path.is_dir() {
                    if !PYTHON_WITHOUT.iter().any(|prefix| name.starts_with(prefix)) {
                        folders.push(path);
                    }
                } else if let Some(module) = name.strip_suffix(".py") {
                    // Compiled, in the source's place: beside it, Python would compile again, since
                    // the disk keeps no times.
                    let compiled = folder.join("__pycache__").join(format!("{module}.{version}.pyc"));
                    let from = if compiled.is_file() { &compiled } else { &path };
                    let to = path.with_extension(if compiled.is_file() { "pyc" } else { "py" });
                    self.disk.file(&to.to_string_lossy(), 0o644, &fs::read(from)?);
                } else if name.ends_with(".so") {
                    self.disk.file(&path.to_string_lossy(), 0o644, &fs::read(&path)?);
                    extensions.push(path);
                }
            }
        }
        self.libraries_of(&extensions)?;
        Ok(true)
    }

    /// Puts the shared libraries of these programs, and their loader, where they are here.
    fn libraries_of(&mut self, programs: &[PathBuf]) -> Result<()> {
        let listed = Command::new("ldd").args(programs).output()?;
        let listed = String::from_utf8(listed.stdout)?;
        for word in listed.split_whitespace() {
            let path = Path::new(word);
            // With several programs each is named in a line that ends with a colon.
            if path.is_absolute() && !word.ends_with(':') && self.libraries.insert(path.to_owned()) {
                self.disk.file(word, 0o755, &fs::read(path)?);
            }
        }
        Ok(())
    }

    /// Boots `kernel`, runs `script` in busybox's shell, and waits for its end.
    pub(crate) fn boot(mut self, kernel: &Kernel, script: &str) -> Result<Finished> {
        self.disk.file("run", 0o755, script.as_bytes());
        let mut order = String::new();
        for (name, content) in kernel.modules()? {
            self.disk.file(&format!("modules/{name}"), 0o644, &content);
            writeln!(order, "{name}")?;
        }
        self.disk.file("modules/order", 0o644, order.as_bytes());
        let image = self.folder.join("initrd");
        fs::write(&image, std::mem::take(&mut self.disk).finish())?;

        let [output, code, serial] = ["output", "code", "serial"].map(|name| self.folder.join(name));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", self.accelerator, "-M", "q35", "-cpu", "max", "-smp", "2", "-m", "2048"]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&image);
        qemu.args(["-append", &format!("{KERNEL_ARGUMENTS} {}", self.kernel_arguments)]);
        qemu.args(["-serial", &format!("file:{}", serial.display()), "-device", "virtio-serial-pci"]);
        for (id, path) in [("output", &output), ("code", &code)] {
            qemu.args(["-chardev", &format!("file,id={id},path={}", path.display())]);
            qemu.args(["-device", &format!("virtserialport,chardev={id},name={id}")]);
        }
        qemu.args(&self.qemu).stdin(Stdio::null());
        let ended = self.wait(&mut Running(qemu.spawn()?), &output)?;
        let _ = fs::remove_file(&image);
        let text = String::from_utf8_lossy(&fs::read(&output).unwrap_or_default()).into_owned();
        if !ended {
            return Err(format!("not finished after {} s", self.time_limit.as_secs()).into());
        }
        match fs::read_to_string(&code).unwrap_or_default().trim().parse() {
            Ok(code) => Ok(Finished { output: text, code }),
            Err(_) => {
                // Another run writes over it.
                let console = fs::read(&serial).unwrap_or_default();
                let console = String::from_utf8_lossy(&console);
                let mut last: Vec<_> = console.lines().rev().take(LAST_LINES).collect();
                last.reverse();
                Err(format!(
                    "the guest died; its console ({}) ends with\n{}",
                    serial.display(),
                    last.join("\n")
                )
                .into())
            }
        }
    }

    /// Waits for QEMU's end and shows what the guest says. `false`: it was not there in time.
    fn wait(&self, qemu: &mut Running, output: &Path) -> Result<bool> {
        let start = Instant::now();
        let mut shown: Option<File> = None;
        loop {
            let ended = qemu.0.try_wait()?.is_some();
            if self.echo {
                if shown.is_none() {
                    shown = File::open(output).ok();
                }
                let mut new = Vec::new();
                if let Some(file) = &mut shown {
                    file.read_to_end(&mut new)?;
                }
                std::io::stdout().write_all(&new)?;
            }
            if ended || start.elapsed() > self.time_limit {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// QEMU, which does not outlive the wait for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TIME_LIMIT: Duration = Duration::from_secs(900);
/// Lines of the console of a guest that died.
const LAST_LINES: usize = 20;

/// No mitigations, which an emulator has no use for, and no self-tests of ciphers: both cost an
/// emulated boot seconds.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on \
                                cryptomgr.notests tsc=reliable rcupdate.rcu_expedited=1 audit=0";

/// Folders of Python's library that no client needs (all beginning so).
const PYTHON_WITHOUT: [&str; 13] = [
    "__pycache__",
    "config-",
    "curses",
    "dist-packages",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tkinter",
    "turtledemo",
];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root LANG=C.UTF-8
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
mkdir -p /dev/shm; mount -t tmpfs s /dev/shm; mount -t tracefs t /sys/kernel/tracing
ln -sf /proc/self/fd /dev/fd
for m in $(cat /modules/order); do insmod /modules/$m 2>>/dev/ttyS0; done
ip link set lo up; ulimit -n 200000; hostname lab
port() { for d in /sys/class/virtio-ports/*; do [ "$(cat $d/name)" = $1 ] && echo /dev/${d##*/}; done; }
cd /tmp
setsid sh /run >"$(port output)" 2>&1 </dev/null
echo $? >"$(port code)"
sync
reboot -f
"#;
