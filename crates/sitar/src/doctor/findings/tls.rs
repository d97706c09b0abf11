//! Kernel TLS: whether it can be attached, its ciphers, new keys.

use rustix::io::Errno;
use sitar_io::probe::KernelTls;

use super::{Facts, Finding, Module, TlsRefusal, Verdict, advice, command, fine, names, problem};

/// One finding where there is none; else one more for each cipher, and one for new keys.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    match &facts.tls.attached {
        Err(refusal) => vec![unavailable(facts, *refusal)],
        Ok(tls) => {
            let mut findings = vec![fine("kernel_tls", "attached to a connection")];
            findings.extend(tls.ciphers.iter().map(|(cipher, answer)| {
                let (name, module) = names(*cipher);
                let id = match name {
                    "AES-128-GCM" => "kernel_tls_aes_128_gcm",
                    "AES-256-GCM" => "kernel_tls_aes_256_gcm",
                    _ => "kernel_tls_chacha20_poly1305",
                };
                self::cipher(id, name, module, *answer)
            }));
            findings.push(rekey(tls));
            findings
        }
    }
}

const COST: &str =
    "--tls kernel does not start; sitar seals records itself (--tls user), as it does by default";

fn unavailable(facts: &Facts, refusal: TlsRefusal) -> Finding {
    let load = || {
        vec![
            command("load the module, until the next boot", "sudo modprobe tls"),
            command("and at every boot", "echo tls | sudo tee /etc/modules-load.d/tls.conf"),
        ]
    };
    let other_kernel = || {
        vec![advice(
            "boot a kernel that was built with CONFIG_TLS; the handbook's page on sitar doctor names some",
        )]
    };
    let (found, missing, remedies) = match (refusal, facts.tls.module) {
        (TlsRefusal::NoLoopback, _) => (
            "could not be tried: no connection over loopback".to_owned(),
            "the loopback interface",
            vec![command("switch it on", "sudo ip link set lo up")],
        ),
        (TlsRefusal::Kernel(Errno::NOENT), Module::Installed) => {
            ("not loaded".to_owned(), "the module tls, which is installed and not loaded", load())
        }
        (TlsRefusal::Kernel(Errno::NOENT), Module::Absent) => {
            ("not in this kernel".to_owned(), "TLS in this kernel (CONFIG_TLS)", other_kernel())
        }
        // The kernel would have loaded it for this process.
        (TlsRefusal::Kernel(Errno::NOENT), Module::Unknown) if facts.net_admin => (
            "not in this kernel".to_owned(),
            "TLS in this kernel (CONFIG_TLS), or its module",
            other_kernel(),
        ),
        (TlsRefusal::Kernel(Errno::NOENT), Module::Unknown) => {
            let mut remedies = load();
            remedies[0].what = "load the module, on the host of a container".into();
            remedies.push(advice("where that fails, the kernel was built without CONFIG_TLS"));
            ("not loaded, or not in this kernel".to_owned(), "the module tls", remedies)
        }
        (TlsRefusal::Kernel(errno), _) => {
            let error = std::io::Error::from(errno);
            (error.to_string(), "permission or means to attach TLS to a connection (TCP_ULP)", Vec::new())
        }
    };
    Finding { id: "kernel_tls", found, verdict: Verdict::Missing(problem(missing, COST, remedies)) }
}

fn cipher(id: &'static str, name: &str, module: &str, answer: Result<(), Errno>) -> Finding {
    let Err(errno) = answer else { return fine(id, "yes") };
    let problem = problem(
        format!("{name} in kernel TLS"),
        "connections with this cipher are sealed by sitar itself, also with --tls kernel",
        vec![command("load the cipher's module, until the next boot", format!("sudo modprobe {module}"))],
    );
    Finding { id, found: std::io::Error::from(errno).to_string(), verdict: Verdict::Degraded(problem) }
}

fn rekey(tls: &KernelTls) -> Finding {
    let id = "kernel_tls_rekey";
    if tls.rekey == Some(true) {
        return fine(id, "yes");
    }
    let problem = problem(
        "new keys for a connection that the kernel seals (Linux 6.14)",
        "with --tls kernel, a connection whose client asks for new keys, or that has used up its own, is closed in good order; \
         the client has to connect again",
        vec![advice("boot Linux 6.14 or newer, or use --tls user")],
    );
    Finding { id, found: "no".into(), verdict: Verdict::Degraded(problem) }
}
