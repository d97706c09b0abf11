//! `cargo xtask bench`: CPU per request of sitar and of nginx, in one run on one machine.
//!
//! One worker each, pinned to core 0; the load on core 1; rounds interleaved; one cipher for all, checked as negotiated;
//! every answer's status checked by the load generator. CPU is that of all threads of the server, from
//! `/proc/PID/task/*/schedstat`, over the requests that were answered.

mod engines;

use crate::Invocation;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const CONNECTIONS: u32 = 64;
const ROUNDS: usize = 7;

struct Case {
    name: &'static str,
    tls: bool,
    file: &'static str,
    length: usize,
}

const CASES: [Case; 4] = [
    Case { name: "h1 plain 1 KiB", tls: false, file: "k1.bin", length: 1 << 10 },
    Case { name: "h1 TLS 1 KiB", tls: true, file: "k1.bin", length: 1 << 10 },
    Case { name: "h1 TLS 16 KiB", tls: true, file: "k16.bin", length: 16 << 10 },
    Case { name: "h1 TLS 1 MiB", tls: true, file: "m1.bin", length: 1 << 20 },
];

/// The command.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    match run(&invocation.root, &invocation.args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the bench and writes `bench/RESULTS.md`. `--quick`: three short rounds, nothing is written. `--engines`: sitar's engines
/// beside each other instead, into `bench/ENGINES.md`.
fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let (mut quick, mut engines) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            "--engines" => engines = true,
            other => return Err(format!("bench: unknown argument {other}; known: --quick, --engines").into()),
        }
    }
    let (rounds, seconds) = if quick { (3, 1) } else { (ROUNDS, 3) };
    for tool in ["nginx", "wrk", "openssl", "taskset"] {
        if !on_path(tool) {
            return Err(
                format!("bench needs {tool}: apt-get install nginx-light wrk openssl util-linux").into()
            );
        }
    }
    let done =
        Command::new("cargo").args(["build", "--release", "-p", "sitar"]).current_dir(root).status()?;
    if !done.success() {
        return Err("cargo build failed".into());
    }
    let lab = Lab::new(root)?;
    if engines {
        return engines::run(root, &lab, rounds, seconds, !quick);
    }
    let mut report = String::new();
    writeln!(
        report,
        "| server CPU per request, µs (min … max of {rounds} rounds) | sitar | nginx | sitar / nginx |"
    )?;
    writeln!(report, "|---|---|---|---|")?;
    for case in &CASES {
        let mut figures: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        let mut servers = [lab.sitar(case)?, lab.nginx(case)?];
        for server in &servers {
            lab.check(server, case)?;
        }
        // A warm-up for each, then rounds in turn, so that both see the same drift of the machine.
        for round in 0..=rounds {
            for (server, figures) in servers.iter_mut().zip(&mut figures) {
                let figure = lab.load(server, case, if round == 0 { 1 } else { seconds })?;
                if round > 0 {
                    figures.push(figure);
                }
            }
        }
        let ratios: Vec<f64> =
            figures[0].iter().zip(&figures[1]).map(|(ours, theirs)| ours / theirs).collect();
        let [ours, theirs, ratio] = [&figures[0], &figures[1], &ratios].map(|list| Spread::of(list));
        let line = format!("| {} | {ours} | {theirs} | {ratio} |", case.name);
        println!("{line}");
        writeln!(report, "{line}")?;
    }
    println!();
    print!("{report}");
    if !quick {
        let text = format!("{}\n{report}", preamble(rounds, seconds)?);
        fs::write(root.join("bench/RESULTS.md"), text)?;
        println!("written to bench/RESULTS.md");
    }
    Ok(())
}

/// "AMD EPYC, 2 cores, kernel 6.18".
fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{model}, {} cores, kernel {}", std::thread::available_parallelism()?, kernel.trim()))
}

fn preamble(rounds: usize, seconds: u64) -> Result<String> {
    let nginx = Command::new("nginx").arg("-v").output()?;
    let nginx = String::from_utf8_lossy(&nginx.stderr).trim().replace("nginx version: ", "");
    Ok(format!(
        "# Last run\n\n`cargo xtask bench` on {}; {nginx} from Debian. One worker each on core 0, wrk with \
         {CONNECTIONS} connections on core 1, loopback, {rounds} rounds of {seconds} s in turn, cipher {CIPHER} (checked as \
         negotiated), every status checked. CPU of all threads of the server, kernel time included. Medians.\n",
        machine()?,
    ))
}

/// Files and configuration for all servers.
struct Lab {
    directory: PathBuf,
    sitar: PathBuf,
}

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Lab {
    fn new(root: &Path) -> Result<Lab> {
        let directory = root.join("target/bench");
        fs::create_dir_all(directory.join("site"))?;
        for case in &CASES {
            // Not compressible, not constant; the same for all.
            let mut state = 1_u64;
            let body: Vec<u8> = (0..case.length)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            fs::write(directory.join("site").join(case.file), body)?;
        }
        let conf = format!(
            "openssl_conf = conf\n[conf]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n\
             MinProtocol = TLSv1.3\nCiphersuites = {CIPHER}\n"
        );
        fs::write(directory.join("openssl.cnf"), conf)?;
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
                "-keyout",
                "key.pem",
                "-out",
                "cert.pem",
            ])
            .current_dir(&directory)
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err("openssl could not make a certificate".into());
        }
        Ok(Lab { directory, sitar: root.join("target/release/sitar") })
    }

    fn sitar(&self, case: &Case) -> Result<Server> {
        self.sitar_with(case, "0", &[])
    }

    /// One shard on these cores, with further arguments.
    fn sitar_with(&self, case: &Case, cores: &str, arguments: &[&str]) -> Result<Server> {
        let mut command = pinned(cores, &self.sitar);
        command.arg("serve").arg(self.directory.join("site")).args([
            "--shards",
            "1",
            "--listen",
            "127.0.0.1:0",
        ]);
        command.args(arguments);
        if case.tls {
            command.arg("--tls-cert").arg(self.directory.join("cert.pem"));
            command.arg("--tls-key").arg(self.directory.join("key.pem"));
        } else {
            command.args(["--tls", "off"]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let port = BufReader::new(stdout).lines().map_while(std::result::Result::ok).find_map(|line| {
            line.trim().strip_prefix("listens")?.trim().strip_prefix("127.0.0.1:")?.parse().ok()
        });
        let port = port.ok_or("sitar did not start")?;
        Ok(Server { child, port })
    }

    fn nginx(&self, case: &Case) -> Result<Server> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let here = self.directory.display();
        let tls = if case.tls {
            format!(
                "ssl_certificate {here}/cert.pem; ssl_certificate_key {here}/key.pem; ssl_protocols TLSv1.3;"
            )
        } else {
            String::new()
        };
        let conf = format!(
            "worker_processes 1; daemon off; pid {here}/nginx.pid; error_log {here}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; \
             open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s; default_type application/octet-stream;\n\
             server {{ listen 127.0.0.1:{port}{}; root {here}/site; {tls} }} }}\n",
            if case.tls { " ssl" } else { "" }
        );
        let path = self.directory.join("nginx.conf");
        fs::write(&path, conf)?;
        let child =
            pinned("0", Path::new("nginx")).arg("-c").arg(&path).arg("-p").arg(&self.directory).spawn()?;
        let server = Server { child, port };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > Duration::from_secs(5) {
                return Err("nginx did not start; see target/bench/nginx.log".into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The right cipher and the right length, before anything is measured.
    fn check(&self, server: &Server, case: &Case) -> Result<()> {
        if case.tls {
            let done = Command::new("openssl")
                .args(["s_client", "-connect", &format!("127.0.0.1:{}", server.port)])
                .env("OPENSSL_CONF", self.directory.join("openssl.cnf"))
                .stdin(Stdio::null())
                .output()?;
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            if !text.contains(&format!("Cipher is {CIPHER}")) {
                return Err(format!("another cipher than {CIPHER} was negotiated").into());
            }
        }
        let done = Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"])
            .arg(self.url(server, case))
            .output()?;
        let got = String::from_utf8_lossy(&done.stdout).into_owned();
        if got != format!("200 {}", case.length) {
            return Err(format!("expected 200 and {} bytes, got {got}", case.length).into());
        }
        Ok(())
    }

    fn url(&self, server: &Server, case: &Case) -> String {
        format!("{}://127.0.0.1:{}/{}", if case.tls { "https" } else { "http" }, server.port, case.file)
    }

    /// Microseconds of CPU per request.
    /// CPU per request, µs.
    fn load(&self, server: &Server, case: &Case, seconds: u64) -> Result<f64> {
        let load = self.load_counted(server, case, seconds)?;
        Ok(load.cpu / 1000.0 / load.requests)
    }

    fn load_counted(&self, server: &Server, case: &Case, seconds: u64) -> Result<Load> {
        let before = cpu_nanoseconds(server.child.id())?;
        let done = pinned("1", Path::new("wrk"))
            .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
            .arg(self.url(server, case))
            .env("OPENSSL_CONF", self.directory.join("openssl.cnf"))
            .output()?;
        let spent = cpu_nanoseconds(server.child.id())? - before;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if !done.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            return Err(format!("the load saw errors:\n{text}").into());
        }
        let requests =
            text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse::<f64>().ok());
        let requests = requests.filter(|n| *n > 0.0).ok_or("wrk printed no number of requests")?;
        Ok(Load { cpu: spent as f64, requests })
    }
}

/// A round of load.
struct Load {
    /// The server's CPU time, ns.
    cpu: f64,
    requests: f64,
}

/// CPU time of one thread, by its directory in /proc.
fn thread_nanoseconds(task: &Path) -> Result<u64> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    Ok(text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0))
}

/// CPU time of a process and its children, all threads, kernel threads that work for them (io-wq) included.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        sum += thread_nanoseconds(&task)?;
        for child in fs::read_to_string(task.join("children"))?.split_whitespace() {
            sum += cpu_nanoseconds(child.parse()?)?;
        }
    }
    Ok(sum)
}

fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cores).arg(program);
    command
}

pub(crate) fn on_path(tool: &str) -> bool {
    found(tool).is_some()
}

/// Where a program is.
pub(crate) fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(tool)).find(|file| file.is_file())
}

/// Median, least and greatest of several figures.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Spread { median: sorted[sorted.len() / 2], min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "**{:.2}** ({:.2} … {:.2})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_extremes() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]).to_string(), "**2.00** (1.00 … 3.00)");
    }
}
