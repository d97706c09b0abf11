//! Compiles the kernel's side with clang, against the headers of libbpf that are linked.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/connections.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let (arch, triple) = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => ("arm64", "aarch64-linux-gnu"),
        _ => ("x86", "x86_64-linux-gnu"),
    };
    let object = PathBuf::from(variable("OUT_DIR")).join("connections.bpf.o");
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&clang);
    // -g: the kernel checks and moves fields by the types in the object (BTF).
    command.args(["-g", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]);
    command.args(["-target", "bpf", "-mcpu=v3", &format!("-D__TARGET_ARCH_{arch}")]);
    command.arg("-isystem").arg(variable("DEP_BPF_INCLUDE"));
    command.args(["-isystem", &format!("/usr/include/{triple}"), "-c", SOURCE, "-o"]).arg(&object);
    match command.status() {
        Ok(status) if status.success() => (),
        Ok(status) => fail(&format!("{} ended with {status}", clang.display())),
        Err(error) => fail(&format!("{}: {error}; Debian's package is called clang", clang.display())),
    }
}

fn fail(reason: &str) -> ! {
    eprintln!("error: {reason}");
    std::process::exit(1);
}
