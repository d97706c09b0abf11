use std::io;

use rustix::io::Errno;
use sitar_io::TlsCipher;
use sitar_io::probe::KernelTls;

use super::*;
use crate::doctor::facts::{FileLimit, SandboxFacts, TlsFacts, Uring};
use sitar_engines::rings::Memory;

/// A machine on which nothing is amiss.
fn good() -> Facts {
    Facts {
        kernel: "6.14.2-amd64".into(),
        net_admin: false,
        seccomp: false,
        uring: Uring {
            engine: Ok(()),
            disabled: Some(0),
            group: Some(-1),
            lacking: Some(Vec::new()),
            options: Some(true),
        },
        tls: TlsFacts {
            attached: Ok(KernelTls {
                ciphers: TlsCipher::ALL.map(|cipher| (cipher, Ok(()))).to_vec(),
                rekey: Some(true),
            }),
            module: Module::Installed,
        },
        sandbox: SandboxFacts {
            landlock: Ok(7),
            leaves_fast_open: Some(false),
            restrictions: Some(true),
            task_restrictions: false,
            ring_filters: false,
            seccomp: true,
        },
        openat2: Ok(()),
        files: FileLimit {
            hard: Some(524_288),
            wanted: 10_240,
            connections: 8192,
            outcome: DescriptorsFit::Whole,
        },
        memlock: Memlock {
            memory: Memory { limit: Some(8 << 20), shards: 2 },
            full: 2646016,
            planned: 2646016,
            outcome: rings::RingsFit::Whole,
        },
        cores: 4,
        unprivileged_port: Some(1024),
        ports: vec![(443, Port::Free), (8443, Port::Free), (8080, Port::Free)],
        year: 2026,
        synchronised: Some(true),
    }
}

/// The finding of that name, as one text: state, what was found, what is missing, costs, and the
/// fixes with their commands.
fn said(facts: &Facts, id: &str) -> String {
    let findings = all(facts);
    let Some(finding) = findings.iter().find(|finding| finding.id == id) else { return "absent".into() };
    let mut text = format!("{}: {}", finding.verdict.name(), finding.found);
    if let Some(problem) = finding.verdict.problem() {
        text.push_str(&format!("\n- {}\n- {}", problem.missing, problem.cost));
        for remedy in &problem.remedies {
            text.push_str(&format!("\n* {}", remedy.what));
            if let Some(command) = &remedy.command {
                text.push_str(&format!("\n$ {command}"));
            }
        }
    }
    text
}

/// Returns the text when one thing differs from the good machine; everything else has to stay fine.
fn with(id: &str, change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = good();
    change(&mut facts);
    for finding in all(&facts) {
        assert!(finding.id == id || finding.verdict == Verdict::Fine, "{finding:?}");
    }
    said(&facts, id)
}

#[test]
fn a_good_machine_has_nothing_to_mend() {
    let findings = all(&good());
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("{} {}", finding.id, finding.found)).collect();
    assert_eq!(
        lines,
        [
            "kernel 6.14.2-amd64",
            "io_uring a ring was made and used",
            "io_uring_operations all that sitar uses",
            "io_uring_socket_options can be set",
            "kernel_tls attached to a connection",
            "kernel_tls_aes_128_gcm yes",
            "kernel_tls_aes_256_gcm yes",
            "kernel_tls_chacha20_poly1305 yes",
            "kernel_tls_rekey yes",
            "landlock ABI 7",
            "tcp_fast_open refused",
            "io_uring_restrictions rings do what sitar uses",
            "seccomp filters can be installed",
            "openat2 allowed",
            "open_files up to 524288; 10240 wanted",
            "locked_memory up to 8192 KiB; the rings of 2 shards take 2584 KiB",
            "cores 4 for this process",
            "port_443 free",
            "port_8443 free",
            "port_8080 free",
            "clock year 2026",
            "clock_synchronised yes",
        ]
    );
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Fine));
}

#[test]
fn a_kernel_from_before_io_uring_was_ready() {
    assert_eq!(
        with("kernel", |facts| facts.kernel = "5.15.0-91-generic".into()),
        "degraded: 5.15.0-91-generic\n\
         - io_uring as sitar needs it came with 6.1\n\
         - sitar runs on epoll: several system calls for each request instead of one for many\n\
         * boot Linux 6.1 or newer"
    );
    for release in ["6.1.0-44-amd64", "6.1", "7.0.0-rc1"] {
        assert_eq!(with("kernel", |facts| facts.kernel = release.into()), format!("ok: {release}"));
    }
}

#[test]
fn io_uring_that_a_sysctl_forbids() {
    let forbid = |disabled, group| {
        with("io_uring", |facts| {
            facts.uring = Uring {
                engine: Err(Unavailable::Forbidden.into()),
                disabled: Some(disabled),
                group: Some(group),
                lacking: None,
                options: None,
            };
            // The filter of a container does not matter then.
            facts.seccomp = true;
        })
    };
    let head = "missing: io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)\n";
    let cost = "- sitar runs on epoll: several system calls for each request instead of one for many\n";
    let everybody = "* allow it to everybody, until the next boot\n\
                     $ sudo sysctl -w kernel.io_uring_disabled=0\n\
                     * and for good\n\
                     $ echo 'kernel.io_uring_disabled = 0' | sudo tee /etc/sysctl.d/50-io_uring.conf";
    for (disabled, group) in [(2, -1), (2, 998), (1, -1)] {
        let expected =
            format!("{head}- permission: sysctl kernel.io_uring_disabled is {disabled}\n{cost}{everybody}");
        assert_eq!(forbid(disabled, group), expected);
    }
    assert_eq!(
        forbid(1, 998),
        format!(
            "{head}- membership in group 998, to which sysctl kernel.io_uring_group allows it\n{cost}\
             * add this user to the group, and log in again\n\
             $ sudo usermod --append --groups \"$(getent group 998 | cut -d: -f1)\" \"$(id -un)\"\n{everybody}"
        )
    );
}

#[test]
fn io_uring_that_a_seccomp_profile_forbids_or_hides() {
    for why in [Unavailable::Forbidden, Unavailable::Missing] {
        let head = format!("missing: {why}\n");
        let said = with("io_uring", |facts| {
            facts.uring.engine = Err(why.into());
            facts.seccomp = true;
        });
        assert_eq!(
            said,
            head + "- io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of this container\n\
                - sitar runs on epoll: several system calls for each request instead of one for many\n\
                * allow the three in the profile that the container runs with: docker run --security-opt seccomp=FILE\n\
                * or leave it so: what the profile keeps from a container may be worth more than the difference"
        );
    }
}

#[test]
fn io_uring_that_fails_otherwise() {
    let cost = "- sitar runs on epoll: several system calls for each request instead of one for many";
    assert_eq!(
        with("io_uring", |facts| facts.uring.engine = Err(Unavailable::Missing.into())),
        format!(
            "missing: this kernel was built without io_uring, or a seccomp profile hides it\n\
             - io_uring in this kernel\n{cost}\n\
             * boot a kernel that was built with CONFIG_IO_URING, as those of distributions are"
        )
    );
    let failed = || Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(5));
    assert_eq!(
        with("io_uring", |facts| facts.uring.engine = Err(failed().into())),
        format!(
            "missing: io_uring_setup: Input/output error (os error 5)\n\
             - a ring: io_uring_setup: Input/output error (os error 5)\n{cost}"
        )
    );
    let short = || Unavailable::Failed("io_uring_setup", io::Error::from_raw_os_error(12));
    assert_eq!(
        with("io_uring", |facts| facts.uring.engine = Err(short().into())),
        format!(
            "missing: io_uring_setup: Cannot allocate memory (os error 12)\n\
             - memory for the rings\n{cost}\n\
             * allow more memory: the container's limit, MemoryMax= in a systemd unit, or `ulimit -v`"
        )
    );
    // A security module: no sysctl and no filter tells.
    let said = with("io_uring", |facts| facts.uring.engine = Err(Unavailable::Forbidden.into()));
    assert!(said.contains("neither the sysctl nor a seccomp filter"), "{said}");
}

#[test]
fn operations_are_asked_for_where_there_is_a_ring() {
    assert_eq!(
        with("io_uring_operations", |facts| facts.uring.lacking = Some(vec!["SEND", "URING_CMD"])),
        "missing: without SEND, URING_CMD\n\
         - operations of io_uring that sitar uses\n\
         - connections fail where such an operation is needed\n\
         * do without io_uring: sitar serve --engine epoll\n\
         * or boot Linux 6.1 or newer as a distribution ships it"
    );
    assert_eq!(
        with("io_uring_operations", |facts| facts.uring.lacking = None),
        "ok: the kernel may not be asked"
    );
    let mut none = good();
    none.uring.engine = Err(Unavailable::Missing.into());
    assert_eq!(said(&none, "io_uring_operations"), "absent");
}

#[test]
fn a_ring_that_sets_no_socket_options() {
    assert_eq!(
        with("io_uring_socket_options", |facts| facts.uring.options = Some(false)),
        "degraded: cannot be set\n\
         - the setting of socket options through io_uring (Linux 6.7)\n\
         - --tls kernel does not start; sitar seals records itself (--tls user), as it does by default\n\
         * boot Linux 6.7 or newer"
    );
    let mut none = good();
    none.uring.options = None;
    assert_eq!(said(&none, "io_uring_socket_options"), "absent");
}

#[test]
fn kernel_tls_that_is_not_there() {
    let cost =
        "- --tls kernel does not start; sitar seals records itself (--tls user), as it does by default\n";
    let load = "$ sudo modprobe tls\n\
                * and at every boot\n\
                $ echo tls | sudo tee /etc/modules-load.d/tls.conf";
    let other =
        "* boot a kernel that was built with CONFIG_TLS; the handbook's page on sitar doctor names some";
    let absent = |module, net_admin| {
        with("kernel_tls", |facts| {
            facts.tls = TlsFacts { attached: Err(TlsRefusal::Kernel(Errno::NOENT)), module };
            facts.net_admin = net_admin;
        })
    };
    assert_eq!(
        absent(Module::Installed, false),
        format!(
            "missing: not loaded\n- the module tls, which is installed and not loaded\n{cost}\
             * load the module, until the next boot\n{load}"
        )
    );
    assert_eq!(
        absent(Module::Absent, false),
        format!("missing: not in this kernel\n- TLS in this kernel (CONFIG_TLS)\n{cost}{other}")
    );
    assert_eq!(
        absent(Module::Unknown, true),
        format!(
            "missing: not in this kernel\n- TLS in this kernel (CONFIG_TLS), or its module\n{cost}{other}"
        )
    );
    assert_eq!(
        absent(Module::Unknown, false),
        format!(
            "missing: not loaded, or not in this kernel\n- the module tls\n{cost}\
             * load the module, on the host of a container\n{load}\n\
             * where that fails, the kernel was built without CONFIG_TLS"
        )
    );
    let mut none = good();
    none.tls.attached = Err(TlsRefusal::Kernel(Errno::NOENT));
    for id in ["kernel_tls_aes_128_gcm", "kernel_tls_chacha20_poly1305", "kernel_tls_rekey"] {
        assert_eq!(said(&none, id), "absent");
    }
}

#[test]
fn kernel_tls_that_cannot_be_tried() {
    let said = with("kernel_tls", |facts| facts.tls.attached = Err(TlsRefusal::NoLoopback));
    assert!(said.starts_with("missing: could not be tried: no connection over loopback\n"), "{said}");
    assert!(said.ends_with("\n* switch it on\n$ sudo ip link set lo up"), "{said}");
    let said = with("kernel_tls", |facts| facts.tls.attached = Err(TlsRefusal::Kernel(Errno::PERM)));
    assert!(said.starts_with("missing: Operation not permitted (os error 1)\n"), "{said}");
}

#[test]
fn kernel_tls_with_gaps() {
    let with_tls = |id: &str, ciphers: [Result<(), Errno>; 3], rekey| {
        with(id, |facts| {
            let ciphers = TlsCipher::ALL.into_iter().zip(ciphers).collect();
            facts.tls.attached = Ok(KernelTls { ciphers, rekey });
        })
    };
    assert_eq!(
        with_tls("kernel_tls_chacha20_poly1305", [Ok(()), Ok(()), Err(Errno::NOENT)], Some(true)),
        "degraded: No such file or directory (os error 2)\n\
         - CHACHA20-POLY1305 in kernel TLS\n\
         - connections with this cipher are sealed by sitar itself, also with --tls kernel\n\
         * load the cipher's module, until the next boot\n\
         $ sudo modprobe chacha20poly1305"
    );
    let said = with_tls("kernel_tls_aes_256_gcm", [Ok(()), Err(Errno::NOENT), Ok(())], Some(true));
    assert!(said.contains("- AES-256-GCM in") && said.ends_with("$ sudo modprobe gcm"), "{said}");
    assert_eq!(
        with_tls("kernel_tls_rekey", [Ok(()); 3], Some(false)),
        "degraded: no\n\
         - new keys for a connection that the kernel seals (Linux 6.14)\n\
         - with --tls kernel, a connection whose client asks for new keys, or that has used up its own, is closed in good \
         order; the client has to connect again\n\
         * boot Linux 6.14 or newer, or use --tls user"
    );
}

#[test]
fn too_few_open_files() {
    let few = |hard, outcome| {
        with("open_files", |facts| {
            facts.files = FileLimit { hard: Some(hard), wanted: 10_240, connections: 8192, outcome };
        })
    };
    let less = DescriptorsFit::FewerConnections { connections: 896, closing: 128, files_open: 64 };
    assert_eq!(
        few(1024, less),
        "degraded: at most 1024; 10240 wanted\n\
         - room for 8192 connections in each shard\n\
         - sitar serve takes 896 connections in each shard\n\
         * in this shell\n\
         $ sudo prlimit --pid $$ --nofile=10240:10240\n\
         * in a systemd unit, below [Service]: LimitNOFILE=10240"
    );
    let none = few(32, DescriptorsFit::TooLow { least: 72 });
    assert!(none.contains("\n- sitar serve does not start: it needs 72\n"), "{none}");
    let asked = few(1024, DescriptorsFit::TooManyConnections { fit: 896 });
    assert!(
        asked.contains("\n- sitar serve does not start: at most 896 connections fit in each shard\n"),
        "{asked}"
    );
    assert_eq!(few(10_240, DescriptorsFit::Whole), "ok: up to 10240; 10240 wanted");
    assert_eq!(with("open_files", |facts| facts.files.hard = None), "ok: no limit; 10240 wanted");
}

/// The two agree for a table of limits on open files, and on both sides of each limit at which the
/// answer changes.
#[test]
fn doctor_says_of_open_files_what_serve_does() {
    use std::num::{NonZeroU16, NonZeroU32};

    use crate::serve::descriptors::{self, Needs};

    for (shards, addresses, shared, connections) in [
        (1, 1, false, None),
        (2, 2, false, None),
        (2, 2, true, None),
        (64, 2, false, None),
        (8, 4, true, None),
        (2, 2, false, Some(100)),
        (2, 2, false, Some(100_000)),
        (4, 2, true, Some(20_000)),
    ] {
        let explicit = connections.and_then(NonZeroU32::new);
        let limits = descriptors::wanted(explicit, NonZeroU16::new(shards).unwrap());
        let needs = Needs { shards, addresses, sites: 1, shared, passed: 0 };
        let outcome = |allowed| needs.outcome(&limits, explicit.is_some(), allowed);
        let differ = |a: u64| std::mem::discriminant(&outcome(a)) != std::mem::discriminant(&outcome(a + 1));
        let borders: Vec<u64> = (0..needs.wanted(&limits) + 2).filter(|a| differ(*a)).collect();
        assert!(borders.len() >= 2, "{needs:?}: {borders:?}");
        let table = [0, 1, 64, 256, 1024, 4096, 65_536, 524_288, u64::MAX];
        for allowed in borders.iter().flat_map(|border| [*border, border + 1]).chain(table) {
            let mut started = limits.clone();
            let start = descriptors::apply(&mut started, needs, explicit, allowed);
            let told = said(
                &Facts {
                    files: FileLimit {
                        hard: Some(allowed),
                        wanted: needs.wanted(&limits),
                        connections: limits.connections,
                        outcome: outcome(allowed),
                    },
                    ..good()
                },
                "open_files",
            );
            let what = format!("{needs:?}, {explicit:?}, {allowed}: {told}");
            match start {
                Err(_) => assert!(told.contains("\n- sitar serve does not start: "), "{what}"),
                Ok(Some(note)) => {
                    let taken = format!("\n- sitar serve takes {} connections in each", started.connections);
                    assert!(told.contains(&taken), "{what}");
                    assert!(note.starts_with(&format!("at most {} connections", started.connections)));
                }
                Ok(None) if started.files_open < limits.files_open || started.closing < limits.closing => {
                    assert!(told.contains("\n- sitar serve keeps fewer large files open"), "{what}");
                }
                Ok(None) => {
                    assert!(told.starts_with("ok: "), "{what}");
                    assert_eq!(started.connections, limits.connections);
                }
            }
        }
    }
}

/// The same for locked memory: rings are made out of a limit as the kernel counts it.
#[test]
fn doctor_says_of_locked_memory_what_serve_does() {
    use std::cell::Cell;

    use sitar_io::{Queues, Unavailable};

    let config = sitar_server::Limits::default().ring();
    for shards in [1, 2, 3, 4, 7, 8, 16, 64, 512] {
        let all = u64::from(shards);
        let (full, least) =
            (Queues::new(&config).locked(&config), Queues::within(&config, 0).locked(&config));
        let borders = [least * all, 2 * least * all, full * all, 2 * full * all];
        let near = borders.iter().flat_map(|border| [border - 1, *border, border + 1]);
        for limit in near.chain([0, 64 << 10, 8 << 20, u64::MAX]) {
            let memory = Memory { limit: Some(limit), shards };
            let left = Cell::new(limit);
            let take = |queues: Queues| {
                let locked = queues.locked(&config);
                let rest = left.get().checked_sub(locked);
                let no_memory = || io::Error::from_raw_os_error(12);
                left.set(rest.ok_or_else(|| Unavailable::Failed("io_uring_setup", no_memory()))?);
                Ok(locked)
            };
            let make_all = |plan: Memory| {
                left.set(limit);
                (0..shards).map(|_| plan.make_with(&config, take, |_| {})).collect::<Result<Vec<u64>, _>>()
            };
            // As `serve` does where the first attempt fails.
            let made = make_all(memory).or_else(|why| memory.shrunk(&config).map_or(Err(why), make_all));
            let told = said(&Facts { memlock: Memlock::of(memory, &config), ..good() }, "locked_memory");
            let what = format!("{shards} shards, {limit} bytes: {made:?}, {told}");
            match made {
                Err(_) => assert!(told.contains(&format!("\n- {EPOLL}\n")), "{what}"),
                Ok(made) if made.iter().all(|locked| *locked == full) => {
                    assert!(told.starts_with("ok: "), "{what}");
                }
                Ok(_) => assert!(told.contains("\n- the rings are smaller: "), "{what}"),
            }
        }
    }
}

#[test]
fn memory_that_may_be_locked() {
    use rings::RingsFit;
    let memlock = |limit, shards, full: u64, planned: u64, outcome| {
        with("locked_memory", |facts| {
            let memory = Memory { limit, shards };
            facts.memlock = Memlock { memory, full: full << 10, planned: planned << 10, outcome };
        })
    };
    let fixes = "* in this shell\n\
                 $ sudo prlimit --pid $$ --memlock=unlimited:unlimited\n\
                 * in a systemd unit, below [Service]: LimitMEMLOCK=infinity\n\
                 * in a container: docker run --ulimit memlock=-1";
    assert_eq!(memlock(None, 8, 10336, 10336, RingsFit::Whole), "ok: no limit for the rings of 8 shards");
    assert_eq!(
        memlock(Some(8 << 20), 1, 1292, 1292, RingsFit::Whole),
        "ok: up to 8192 KiB; the ring of 1 shard takes 1292 KiB"
    );
    assert_eq!(
        memlock(Some(8 << 20), 8, 10336, 2656, RingsFit::Smaller),
        format!(
            "degraded: up to 8192 KiB; the rings of 8 shards take 2656 KiB\n\
             - 10336 KiB of them, and as much again for a restart\n\
             - the rings are smaller: more system calls where many connections are busy at a time\n{fixes}"
        )
    );
    for limit in [0, 64] {
        assert_eq!(
            memlock(Some(limit << 10), 7, 9044, 224, RingsFit::TooLow),
            format!(
                "degraded: up to {limit} KiB; the rings of 7 shards take 224 KiB\n\
                 - 9044 KiB of them, and as much again for a restart\n\
                 - sitar runs on epoll: several system calls for each request instead of one for many\n{fixes}"
            )
        );
    }
}

#[test]
fn few_cores() {
    assert_eq!(
        with("cores", |facts| facts.cores = 1),
        "degraded: 1 for this process\n\
         - a second core\n\
         - --engine sqpoll does not start: its polling thread needs a core of its own\n\
         * allow more cores: taskset, AllowedCPUs= in a systemd unit, or the container's limit"
    );
}

#[test]
fn ports_that_cannot_be_had() {
    assert_eq!(
        with("port_8443", |facts| facts.ports[1].1 = Port::Taken),
        "degraded: taken\n\
         - the port: another program listens on it (another sitar counts)\n\
         - sitar serve without --listen does not start\n\
         * see which one\n\
         $ ss -ltnp 'sport = :8443'"
    );
    assert_eq!(
        with("port_443", |facts| facts.ports[0].1 = Port::Forbidden),
        "degraded: not allowed\n\
         - permission: ports below 1024 need a privilege\n\
         - --listen 443 does not start\n\
         * allow it to everybody, until the next boot\n\
         $ sudo sysctl -w net.ipv4.ip_unprivileged_port_start=443\n\
         * or to this program, until it is replaced\n\
         $ sudo setcap cap_net_bind_service=+ep \"$(command -v sitar)\"\n\
         * or in a systemd unit, below [Service]: AmbientCapabilities=CAP_NET_BIND_SERVICE"
    );
    assert_eq!(
        with("port_8080", |facts| facts.ports[2].1 = Port::Failed(Errno::NOBUFS)),
        "degraded: No buffer space available (os error 105)\n\
         - the port: No buffer space available (os error 105)\n\
         - sitar serve --tls off without --listen does not start"
    );
}

#[test]
fn a_clock_that_is_wrong_or_left_alone() {
    for (year, state) in [(1970, "missing"), (2025, "missing"), (2026, "ok"), (2100, "ok"), (2101, "missing")]
    {
        let said = with("clock", |facts| facts.year = year);
        assert!(said.starts_with(&format!("{state}: year {year}")), "{said}");
    }
    assert_eq!(
        with("clock_synchronised", |facts| facts.synchronised = Some(false)),
        "degraded: no\n\
         - a program that keeps the clock right (NTP, PTP)\n\
         - the clock drifts: in time, certificates and dates are off by as much\n\
         * with systemd\n\
         $ sudo timedatectl set-ntp true\n\
         * in a virtual machine the host may keep it right without telling; then ignore this"
    );
    assert_eq!(with("clock_synchronised", |facts| facts.synchronised = None), "ok: the kernel does not say");
}

#[test]
fn folders_are_served_without_openat2() {
    assert_eq!(
        with("openat2", |facts| facts.openat2 = Err(Errno::PERM)),
        "ok: refused (Operation not permitted (os error 1)): sitar walks folders name by name instead, and serves the same"
    );
}

#[test]
fn landlock_bounds_what_its_version_knows() {
    let with_landlock = |landlock| with("landlock", |facts| facts.sandbox.landlock = landlock);
    assert_eq!(with_landlock(Ok(6)), "ok: ABI 6");
    assert_eq!(
        with_landlock(Ok(2)),
        "degraded: ABI 2\n\
         - ABI 6, which came with Linux 6.12\n\
         - the sandbox bounds files, and neither TCP nor signals: --sandbox strict does not start, \
         --sandbox auto goes without\n\
         * boot Linux 6.12 or newer"
    );
    assert!(with_landlock(Ok(5)).contains("bounds files and TCP, and no signals: "));
    assert_eq!(
        with_landlock(Err(Errno::OPNOTSUPP)),
        "missing: not switched on\n\
         - the kernel has it, and its parameter lsm= does not name it\n\
         - the sandbox bounds neither files nor TCP: --sandbox strict does not start, --sandbox auto goes \
         without\n\
         * see what it names\n\
         $ cat /sys/kernel/security/lsm"
    );
    assert!(with_landlock(Err(Errno::NOSYS)).starts_with("missing: not there\n"));
}

#[test]
fn fast_open_is_seen_closed_or_named() {
    let with_fast_open =
        |leaves| with("tcp_fast_open", |facts| facts.sandbox.leaves_fast_open = Some(leaves));
    assert_eq!(with_fast_open(false), "ok: refused");
    assert_eq!(
        with_fast_open(true),
        "degraded: connects\n\
         - the sandbox refuses it\n\
         - the sandbox bounds TCP, but a worker that was taken over could connect out by TCP Fast Open\n\
         * forbid it to all programs of this machine\n\
         $ sudo sysctl -w net.ipv4.tcp_fastopen=2\n\
         * boot a kernel whose Landlock sees it"
    );
}

#[test]
fn rings_and_system_calls_are_restricted_where_the_kernel_can() {
    let id = "io_uring_restrictions";
    let newer = with(id, |facts| {
        (facts.sandbox.task_restrictions, facts.sandbox.ring_filters) = (true, true);
    });
    assert_eq!(newer, "ok: rings do what sitar uses; the kernel has them for tasks and by BPF filters too");
    let refused = with(id, |facts| facts.sandbox.restrictions = Some(false));
    assert!(refused.starts_with("missing: refused\n- IORING_REGISTER_RESTRICTIONS\n"), "{refused}");
    assert_eq!(with(id, |facts| facts.sandbox.restrictions = None), "absent");
    let none = with("seccomp", |facts| facts.sandbox.seccomp = false);
    assert!(none.starts_with("missing: not there\n- filters of system calls\n"), "{none}");
}
