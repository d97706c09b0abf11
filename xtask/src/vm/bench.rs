//! `cargo xtask lab-bench`: guest instructions per request on the server's CPU, for sitar and its
//! peers, under one of Debian's kernels with TLS.
//!
//! A verb of xtask and not of the bench: it boots the lab's guest, and shares nothing with the
//! loads outside. Its command line is read by hand, as ci would wait for clap to compile before it
//! starts.
//!
//! In the emulator times mean nothing, but instructions can be counted to the last one (a plugin of
//! QEMU's, `insncount.c`). The server has virtual CPU 1 for itself, the load CPU 0. A load is made
//! twice with different numbers of requests, and the difference counts: handshakes, start and end
//! of the load are the same in both. The emulator's clock runs on instructions, so that other
//! programs on this machine have no part in the figures.

use super::guest::Guest;
use super::kernel::{Kernel, SERIES};
use super::{Result, folder};
use crate::Invocation;
use crate::program::on_path;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// One kind of request.
struct Case {
    name: &'static str,
    file: &'static str,
    /// Requests, or handshakes, of the short load and of the long one.
    loads: [u32; 2],
    /// Every request on a connection of its own.
    handshakes: bool,
}

const CASES: [Case; 3] = [
    Case { name: "1 KiB", file: "1k.bin", loads: [400, 2400], handshakes: false },
    Case { name: "100 KiB", file: "100k.bin", loads: [100, 500], handshakes: false },
    Case { name: "handshake + 1 KiB", file: "1k.bin", loads: [20, 80], handshakes: true },
];

/// One server, its command, and whether the kernel has to seal.
struct Peer {
    name: &'static str,
    /// The program; without it on this machine the others are compared.
    program: Option<&'static str>,
    start: &'static str,
    kernel_tls: bool,
}

const PEERS: [Peer; 6] = [
    Peer { name: "sitar", program: None, start: "sitar serve /site --tls user $SITAR", kernel_tls: false },
    Peer {
        name: "sitar, kernel TLS",
        program: None,
        start: "sitar serve /site --tls kernel $SITAR",
        kernel_tls: true,
    },
    Peer { name: "nginx", program: Some("nginx"), start: "nginx -c /bench/nginx.conf", kernel_tls: false },
    Peer {
        name: "nginx, kernel TLS",
        program: Some("nginx"),
        start: "nginx -c /bench/nginx-kernel.conf",
        kernel_tls: true,
    },
    Peer { name: "h2o", program: Some("h2o"), start: "h2o -c /bench/h2o.conf", kernel_tls: false },
    Peer {
        name: "lighttpd, kernel TLS",
        program: Some("lighttpd"),
        start: "lighttpd -D -f /bench/lighttpd.conf",
        kernel_tls: true,
    },
];

/// The server by whose figures the others are divided.
const YARDSTICK: &str = "nginx";
const CONNECTIONS: u32 = 16;
const ROUNDS: usize = 3;
const TIME_LIMIT: Duration = Duration::from_secs(3600);
const USAGE: &str = "usage: cargo xtask lab-bench [6.1|6.12] [--rounds N] [--dev]";

/// The command.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    let (mut series, mut rounds, mut dev) = ("6.12", ROUNDS, false);
    let mut arguments = invocation.args.iter();
    while let Some(argument) = arguments.next() {
        let known = match argument.as_str() {
            "--dev" => {
                dev = true;
                true
            }
            "--rounds" => match arguments.next().and_then(|number| number.parse().ok()) {
                Some(number @ 1..=99) => {
                    rounds = number;
                    true
                }
                _ => false,
            },
            other => SERIES.iter().find(|known| **known == other).map(|known| series = known).is_some(),
        };
        if !known {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    match run(&invocation.root, series, rounds, dev) {
        Ok(table) => {
            print!("\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, series: &str, rounds: usize, dev: bool) -> Result<String> {
    if let Some(missing) = super::missing_tool() {
        return Err(missing.into());
    }
    let absent: Vec<&str> =
        ["gcc", "h2load", "openssl", "curl", "nginx"].into_iter().filter(|tool| !on_path(tool)).collect();
    if !absent.is_empty() {
        return Err(format!("no {}; `cargo xtask setup --bench` installs it", absent.join(", ")).into());
    }
    let kernel = Kernel::get(&folder(root), series)?;
    let here = folder(root).join("run-bench");
    let mut guest = Guest::new(here.clone())?;
    guest.time_limit = TIME_LIMIT;
    guest.kernel_arguments = "isolcpus=1";
    super::with_clients(root, &mut guest, dev)?;
    for name in ["h2load", "nginx", "h2o", "lighttpd"] {
        guest.command(name)?;
    }
    guest.modules_of("/usr/lib/lighttpd")?;
    guest.file("site/1k.bin", 0o644, &noise(1 << 10));
    guest.file("site/100k.bin", 0o644, &noise(100 << 10));
    certificate(&here)?;
    for name in ["cert.pem", "key.pem"] {
        guest.file(&format!("bench/{name}"), 0o644, &fs::read(here.join(name))?);
    }
    guest.file("bench/nginx.conf", 0o644, NGINX.replace("KTLS", "-KTLS").as_bytes());
    guest.file("bench/nginx-kernel.conf", 0o644, NGINX.as_bytes());
    guest.file("bench/h2o.conf", 0o644, H2O.as_bytes());
    guest.file("bench/lighttpd.conf", 0o644, LIGHTTPD.as_bytes());

    let source = root.join("xtask/src/vm/insncount.c");
    let (plugin, mark, counts) = (here.join("insncount.so"), here.join("mark"), here.join("counts"));
    compile(&["-shared", "-fPIC", "-o"], &plugin, &source)?;
    compile(&["-static", "-DMARK", "-o"], &mark, &source)?;
    guest.program(&mark, "bin/mark")?;
    guest.qemu = ["-icount", "shift=0,sleep=off", "-plugin"].map(str::to_owned).to_vec();
    guest.qemu.push(format!("{},out={}", plugin.display(), counts.display()));
    guest.accelerator = "tcg,thread=single";

    let peers: Vec<&Peer> = PEERS.iter().filter(|peer| peer.program.is_none_or(on_path)).collect();
    let done = guest.boot(&kernel, &script(&peers, rounds))?;
    if done.code != 0 {
        return Err(format!("the guest's script ended with {}", done.code).into());
    }
    let figures = figures(&done.output, &fs::read_to_string(&counts)?)?;
    let calls = calls(&done.output)?;
    let image = super::name_of(&kernel.image);
    let kernel = image.trim_start_matches("vmlinuz-");
    let tables =
        [table(&peers, &figures, kernel, rounds), calls_table(&peers, &calls), bounds(&peers, &figures)];
    Ok(tables.join("\n"))
}

fn compile(options: &[&str], to: &Path, source: &Path) -> Result<()> {
    let done = Command::new("gcc").args(["-O2", "-Wall"]).args(options).arg(to).arg(source).status()?;
    if done.success() { Ok(()) } else { Err(format!("{} does not compile", source.display()).into()) }
}

fn certificate(here: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.arg("-keyout").arg(here.join("key.pem")).arg("-out").arg(here.join("cert.pem"));
    let done = openssl.output()?;
    if done.status.success() { Ok(()) } else { Err("openssl makes no certificate".into()) }
}

/// Returns bytes that do not compress, the same in each run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Returns the guest's script: all servers in turn, each with every case, once a round. Each load
/// leaves a line `load ROUND SERVER CASE LOAD` and two marks in the file of counts.
fn script(peers: &[&Peer], rounds: usize) -> String {
    let mut script = String::from(SCRIPT);
    for round in 0..rounds {
        for (number, peer) in peers.iter().enumerate() {
            let sealed = if peer.kernel_tls { "kernel" } else { "own" };
            // Writing to a String cannot fail.
            let _ = writeln!(script, "begin '{}' {sealed} {}", peer.name, peer.start);
            push_loads(&mut script, "load", &format!("{round} {number}"));
            // Apart, since tracing takes instructions; and once, since the count is the same each
            // time.
            if round == 0 {
                push_loads(&mut script, "calls", &number.to_string());
            }
            let _ = writeln!(script, "end");
        }
    }
    script
}

/// Appends each case with its short load and its long one, done by a function of the script's.
fn push_loads(script: &mut String, function: &str, key: &str) {
    for (case_number, case) in CASES.iter().enumerate() {
        for (load, requests) in case.loads.iter().enumerate() {
            let connections = if case.handshakes { *requests } else { CONNECTIONS };
            let _ = writeln!(
                script,
                "{function} '{key} {case_number} {load}' {requests} {connections} {}",
                case.file
            );
        }
    }
}

/// User and kernel instructions per request, of each round, by server and case.
type Figures = BTreeMap<(usize, usize), Vec<[f64; 2]>>;

fn figures(output: &str, counts: &str) -> Result<Figures> {
    let mut marks = counts.lines().map(server_cpu);
    let mut loads: BTreeMap<[usize; 4], [f64; 2]> = BTreeMap::new();
    for line in output.lines() {
        let Some(key) = line.strip_prefix("load ") else { continue };
        let key: Vec<usize> = key.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let key: [usize; 4] = key.try_into().map_err(|_| format!("not a load: {line}"))?;
        let mut mark = || marks.next().flatten().ok_or("fewer marks than loads");
        let (before, after) = (mark()?, mark()?);
        loads.insert(key, [after[0] - before[0], after[1] - before[1]]);
    }
    let mut figures = Figures::new();
    for ([round, server, case, _], long) in loads.iter().filter(|(key, _)| key[3] == 1) {
        let short = loads.get(&[*round, *server, *case, 0]).ok_or("a long load without its short one")?;
        let [few, many] = CASES.get(*case).ok_or("an unknown case")?.loads;
        let each = |index: usize| (long[index] - short[index]) / f64::from(many - few);
        figures.entry((*server, *case)).or_default().push([each(0), each(1)]);
    }
    Ok(figures)
}

/// System calls per request, by server and case.
type Calls = BTreeMap<(usize, usize), f64>;

/// Reads lines of `calls SERVER CASE LOAD COUNT`.
fn calls(output: &str) -> Result<Calls> {
    let mut loads: BTreeMap<[usize; 3], f64> = BTreeMap::new();
    for line in output.lines() {
        let Some(numbers) = line.strip_prefix("calls ") else { continue };
        let numbers: Vec<usize> =
            numbers.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let &[server, case, load, count] = &numbers[..] else {
            return Err(format!("not a count of calls: {line}").into());
        };
        loads.insert([server, case, load], count as f64);
    }
    let mut calls = Calls::new();
    for ([server, case, _], long) in loads.iter().filter(|(key, _)| key[2] == 1) {
        let short = loads.get(&[*server, *case, 0]).ok_or("a long load without its short one")?;
        let [few, many] = CASES.get(*case).ok_or("an unknown case")?.loads;
        calls.insert((*server, *case), (long - short) / f64::from(many - few));
    }
    Ok(calls)
}

/// Returns the second pair of a line of counts.
fn server_cpu(line: &str) -> Option<[f64; 2]> {
    let mut numbers = line.split_whitespace().skip(2).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// Returns the instructions of user and kernel together, the median of all rounds.
fn total(figures: &Figures, server: usize, case: usize) -> f64 {
    let list = figures.get(&(server, case)).map(Vec::as_slice).unwrap_or_default();
    middle(list.iter().map(|[user, kernel]| user + kernel).collect())
}

/// Appends the first two lines of a table with a column for each case.
fn push_cases(text: &mut String) {
    text.push('|');
    for case in &CASES {
        let _ = write!(text, " | {}", case.name);
    }
    text.push_str(" |\n|---|---|---|---|\n");
}

fn table(peers: &[&Peer], figures: &Figures, kernel: &str, rounds: usize) -> String {
    let total = |server, case| total(figures, server, case);
    let yardstick = peers.iter().position(|peer| peer.name == YARDSTICK);
    let mut text = format!(
        "Thousand guest instructions per request on the server's CPU (of these in user space) and ratio to {YARDSTICK}; kernel \
         {kernel}, emulated; medians of {rounds}, and their extremes.\n\n"
    );
    push_cases(&mut text);
    for (server, peer) in peers.iter().enumerate() {
        let _ = write!(text, "| {}", peer.name);
        for case in 0..CASES.len() {
            let list = figures.get(&(server, case)).map(Vec::as_slice).unwrap_or_default();
            let user = middle(list.iter().map(|[user, _]| *user).collect());
            let all: Vec<f64> = list.iter().map(|[user, kernel]| user + kernel).collect();
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            let most = all.iter().copied().fold(0.0, f64::max);
            let ratio = yardstick.map_or(f64::NAN, |of| total(server, case) / total(of, case));
            let _ = write!(
                text,
                " | {:.1} ({:.1}), {:.1}…{:.1}, {ratio:.2}",
                total(server, case) / 1e3,
                user / 1e3,
                least / 1e3,
                most / 1e3
            );
        }
        text.push_str(" |\n");
    }
    text
}

fn calls_table(peers: &[&Peer], calls: &Calls) -> String {
    let mut text =
        "System calls per request on that CPU (`raw_syscalls:sys_enter`, in loads of their own).\n\n"
            .to_owned();
    push_cases(&mut text);
    for (server, peer) in peers.iter().enumerate() {
        let _ = write!(text, "| {}", peer.name);
        for case in 0..CASES.len() {
            let _ = write!(text, " | {:.2}", calls.get(&(server, case)).copied().unwrap_or(f64::NAN));
        }
        text.push_str(" |\n");
    }
    text
}

/// A bound that sitar has set itself: the name of its own figure, the case, the beginnings of the
/// names of the others, and the largest ratio to the best of these. Reported, not asserted.
const BOUNDS: [(&str, usize, &[&str], f64); 3] = [
    ("sitar, kernel TLS", 0, &["nginx", "h2o", "lighttpd"], 0.90),
    ("sitar, kernel TLS", 1, &["nginx", "h2o", "lighttpd"], 0.95),
    ("sitar", 2, &["nginx"], 0.40),
];

fn bounds(peers: &[&Peer], figures: &Figures) -> String {
    let total = |server, case| total(figures, server, case);
    let mut text =
        "| bound | case | to the best of | at most | measured | |\n|---|---|---|---|---|---|\n".to_owned();
    for (name, case, others, most) in BOUNDS {
        let Some(own) = peers.iter().position(|peer| peer.name == name) else { continue };
        let best = (0..peers.len())
            .filter(|peer| others.iter().any(|other| peers[*peer].name.starts_with(other)))
            .min_by(|one, other| total(*one, case).total_cmp(&total(*other, case)));
        let Some(best) = best else { continue };
        let ratio = total(own, case) / total(best, case);
        let verdict = if ratio <= most { "met" } else { "**missed**" };
        let _ = writeln!(
            text,
            "| {name} | {} | {}: {} | {most:.2} | {ratio:.2} | {verdict} |",
            CASES[case].name,
            others.join(", "),
            peers[best].name
        );
    }
    text
}

fn middle(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or(f64::NAN)
}

const SCRIPT: &str = r#"
SITAR="--shards 1 --listen 127.0.0.1:4433 --tls-cert /bench/cert.pem --tls-key /bench/key.pem"
taskset -p 1 $$ >/dev/null
mkdir -p /var/log/nginx /var/lib/nginx /run
die() { echo "lab-bench: $*"; cat /tmp/said; exit 1; }
sealed() { sed -n 's/^TlsTxSw[^0-9]*//p' /proc/net/tls_stat; }
# Name, who seals, and the command; which may go to the background by itself, or not.
begin() {
    name=$1 by=$2; shift 2
    taskset 2 setsid "$@" >/tmp/said 2>&1 &
    tries=0
    until curl --silent --insecure https://127.0.0.1:4433/1k.bin -o /tmp/got; do
        tries=$((tries + 1)); [ $tries -lt 100 ] || die "$name does not answer"
        sleep 0.1
    done
    for file in 1k.bin 100k.bin; do
        curl --silent --insecure https://127.0.0.1:4433/$file | cmp - /site/$file || die "$name sends a wrong $file"
    done
    before=$(sealed)
    h2 300 16 1k.bin; h2 100 16 100k.bin
    after=$(sealed)
    case $by in
        kernel) [ "$after" -ge $((before + 32)) ] || die "$name: the kernel does not seal ($before, then $after)";;
        own) [ "$after" = "$before" ] || die "$name: the kernel seals ($before, then $after)";;
    esac
}
# Requests, connections, file.
h2() {
    taskset 1 h2load --h1 -t 1 -n $1 -c $2 --tls13-ciphers=TLS_AES_128_GCM_SHA256 \
        https://127.0.0.1:4433/$3 >/tmp/load 2>&1 || die "h2load: $(cat /tmp/load)"
    grep -q "^status codes: $1 2xx, 0 3xx, 0 4xx, 0 5xx" /tmp/load || die "$name: $(cat /tmp/load)"
    grep -q "^Cipher: TLS_AES_128_GCM_SHA256" /tmp/load || die "$name: $(cat /tmp/load)"
}
load() { mark; h2 $2 $3 $4; mark; echo "load $1"; }
# As `load`. The server's CPU makes the calls of the server only; what its buffer has no room for is counted as overrun.
TRACING=/sys/kernel/tracing
mount -t tracefs tracefs $TRACING 2>/dev/null
calls() {
    echo 0 >$TRACING/tracing_on
    echo >$TRACING/trace
    echo 1 >$TRACING/events/raw_syscalls/sys_enter/enable || die "no system calls to trace"
    echo 1 >$TRACING/tracing_on
    h2 $2 $3 $4
    echo 0 >$TRACING/events/raw_syscalls/sys_enter/enable
    echo "calls $1 $(awk '/^entries:|^overrun:/ { n += $2 } END { printf "%d", n }' $TRACING/per_cpu/cpu1/stats)"
}
end() {
    # Every process on CPU 1 that is no thread of the kernel.
    for pid in $(pidof sitar nginx h2o lighttpd); do kill $pid; done
    tries=0
    while pidof sitar nginx h2o lighttpd >/dev/null; do
        tries=$((tries + 1)); [ $tries -lt 100 ] || die "$name does not end"
        sleep 0.1
    done
}
"#;

/// `KTLS` or `-KTLS` is OpenSSL's option.
const NGINX: &str = "
worker_processes 1; pid /tmp/nginx.pid; error_log /tmp/nginx.log; user root;
events { worker_connections 1024; }
http {
    access_log off; sendfile on; keepalive_requests 1000000; open_file_cache max=100;
    server {
        listen 127.0.0.1:4433 ssl; root /site;
        ssl_certificate /bench/cert.pem; ssl_certificate_key /bench/key.pem; ssl_protocols TLSv1.3;
        ssl_conf_command Options KTLS;
    }
}
";

const H2O: &str = "
num-threads: 1
user: root
listen: {host: 127.0.0.1, port: 4433, ssl: {certificate-file: /bench/cert.pem, key-file: /bench/key.pem, minimum-version: TLSv1.2, ocsp-update-interval: 0}}
hosts: {default: {paths: {/: {file.dir: /site}}}}
";

const LIGHTTPD: &str = r#"
server.modules = ("mod_openssl")
server.document-root = "/site"
server.bind = "127.0.0.1"
server.port = 4433
server.max-keep-alive-requests = 1000000
ssl.engine = "enable"
ssl.pemfile = "/bench/cert.pem"
ssl.privkey = "/bench/key.pem"
ssl.openssl.ssl-conf-cmd = ("MinProtocol" => "TLSv1.3", "Options" => "+KTLS")
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_loads_have_in_common_does_not_count() {
        // Server 0, case 2: 20 and then 80 requests. CPU 0 is the load's.
        let output = "noise\nload 0 0 2 0\nload 0 0 2 1\n";
        let counts = "9 9  100 1000  \n9 9  1100 3000  \n9 9  2000 4000  \n9 9  9000 18000  \n";
        let figures = figures(output, counts).unwrap();
        // (7000 - 1000) / 60 and (14000 - 2000) / 60
        assert_eq!(figures.get(&(0, 2)).unwrap()[..], [[100.0, 200.0]]);
        assert!(super::figures(output, "9 9  1 1\n").is_err());
        assert!(super::figures("load 0 0 2 1\n", counts).is_err());
    }

    #[test]
    fn calls_are_counted_in_the_same_way() {
        let output = "calls 1 0 0 900\nnoise\ncalls 1 0 1 2900\nload 0 0 2 0\n";
        assert_eq!(calls(output).unwrap(), Calls::from([((1, 0), 1.0)]));
        assert!(calls("calls 1 0 1 2900\n").is_err());
        assert!(calls("calls 1 0 1\n").is_err());
        let peers: Vec<&Peer> = PEERS.iter().take(2).collect();
        let table = calls_table(&peers, &Calls::from([((1, 0), 1.0), ((0, 2), 12.345)]));
        assert!(table.contains("| sitar | NaN | NaN | 12.35 |\n"), "{table}");
        assert!(table.contains("| sitar, kernel TLS | 1.00 | NaN | NaN |\n"), "{table}");
    }

    #[test]
    fn bounds_are_held_against_the_best() {
        let peers: Vec<&Peer> = PEERS.iter().collect();
        let totals = [10.0, 90.0, 100.0, 120.0, 101.0, 110.0];
        let mut figures = Figures::new();
        for (server, total) in totals.iter().enumerate() {
            for case in 0..3 {
                figures.insert((server, case), vec![[*total, 0.0]]);
            }
        }
        let text = bounds(&peers, &figures);
        for line in [
            "| sitar, kernel TLS | 1 KiB | nginx, h2o, lighttpd: nginx | 0.90 | 0.90 | met |",
            "| sitar, kernel TLS | 100 KiB | nginx, h2o, lighttpd: nginx | 0.95 | 0.90 | met |",
            "| sitar | handshake + 1 KiB | nginx: nginx | 0.40 | 0.10 | met |",
        ] {
            assert!(text.contains(line), "{text}");
        }
        figures.insert((4, 0), vec![[99.0, 0.0]]);
        let text = bounds(&peers, &figures);
        assert!(text.contains("| nginx, h2o, lighttpd: h2o | 0.90 | 0.91 | **missed** |"), "{text}");
    }

    #[test]
    fn the_table_has_medians_and_ratios() {
        let peers: Vec<&Peer> = PEERS.iter().filter(|peer| ["sitar", "nginx"].contains(&peer.name)).collect();
        let mut figures = Figures::new();
        for case in 0..3 {
            figures.insert((0, case), vec![[10_000.0, 30_000.0], [10_000.0, 20_000.0], [10_000.0, 40_000.0]]);
            figures.insert((1, case), vec![[40_000.0, 40_000.0]]);
        }
        let table = table(&peers, &figures, "6.12.1", 3);
        let row = "| sitar | 40.0 (10.0), 30.0…50.0, 0.50 | 40.0 (10.0), 30.0…50.0, 0.50 | 40.0 (10.0), 30.0…50.0, 0.50 |\n";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("| nginx | 80.0 (40.0), 80.0…80.0, 1.00 |"), "{table}");
    }
}
