//! The servers' start: one worker each, on core 0, with the same files and certificate.

use crate::Result;
use crate::cases::{Case, Work};
use crate::participants::{Kind, Participant};
use crate::run::{SERVER_CORE, pinned};
use crate::site::Lab;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Connections that each server has to take.
const CONNECTIONS_MAX: usize = 12_000;
/// Longer than any case takes, so that no connection is cut off while idle.
const IDLE_SECONDS: usize = 900;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
    /// Its access log, which goes with it: it may be large.
    pub(crate) log: Option<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            let _ = fs::remove_file(log);
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        // A server that waits for its connections to end is killed.
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the text of a configuration is made of.
struct Place<'l> {
    here: &'l Path,
    site: String,
    port: u16,
    tls: bool,
    log: Option<PathBuf>,
}

impl Server {
    pub(crate) fn start(lab: &Lab, participant: &Participant, case: &Case) -> Result<Server> {
        match participant.kind {
            Kind::Floor => announced(floor(lab, participant, case)),
            Kind::Sitar { engine, memory } => {
                let cores = if engine == "sqpoll" { "0,1" } else { SERVER_CORE };
                let memory = memory.to_string();
                let more = ["--shards", "1", "--engine", engine, "--memory", &memory];
                announced(sitar(lab, participant, case, cores, &more))
            }
            Kind::Nginx => configured(lab, participant, case, nginx, &["-c"], &[]),
            Kind::H2o => configured(lab, participant, case, h2o, &["-c"], &[]),
            Kind::Lighttpd => configured(lab, participant, case, lighttpd, &["-D", "-f"], &[]),
            Kind::StaticWebServer => static_web_server(lab, participant, case),
        }
        .map(|mut server| {
            server.log = log(lab, participant);
            server
        })
        .map_err(|error| format!("{}: {error}", participant.name).into())
    }

    /// Starts sitar with a number of shards on these cores.
    pub(crate) fn sharded(
        lab: &Lab,
        participant: &Participant,
        case: &Case,
        cores: &str,
        shards: &str,
    ) -> Result<Server> {
        announced(sitar(lab, participant, case, cores, &["--shards", shards]))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Returns the path of a server's access log, if it writes one.
fn log(lab: &Lab, participant: &Participant) -> Option<PathBuf> {
    let can = !matches!(participant.kind, Kind::Floor | Kind::StaticWebServer);
    (can && lab.log.is_some()).then(|| lab.directory.join(format!("{}.access.log", participant.name)))
}

fn floor(lab: &Lab, participant: &Participant, case: &Case) -> Command {
    let mut command = pinned(SERVER_CORE, &participant.program);
    let file = lab.directory.join(lab.site(case.work)).join(case.file);
    command.arg("floor").arg("--file").arg(file).args(["--status", &case.status.to_string()]);
    command.args(["--length", &case.length.to_string()]);
    if case.tls {
        command.arg("--cert").arg(lab.cert()).arg("--key").arg(lab.directory.join("key.pem"));
    }
    command
}

fn sitar(lab: &Lab, participant: &Participant, case: &Case, cores: &str, more: &[&str]) -> Command {
    let mut command = pinned(cores, &participant.program);
    command.arg("serve").arg(lab.directory.join(format!("{}.tar", lab.site(case.work))));
    command.args(["--listen", "127.0.0.1:0"]).args(more);
    if matches!(case.work, Work::Idle | Work::Slow) {
        command.args(["--connections", &CONNECTIONS_MAX.to_string()]);
        command.args(["--idle-seconds", &IDLE_SECONDS.to_string()]);
    }
    if case.tls {
        command.arg("--tls-cert").arg(lab.cert()).arg("--tls-key").arg(lab.directory.join("key.pem"));
    } else {
        command.args(["--tls", "off"]);
    }
    if let (Some(path), Some(format)) = (log(lab, participant), lab.log) {
        command.arg("--access-log").arg(path).args(["--log-format", format]);
    }
    command
}

/// Starts a server that prints where it listens.
pub(crate) fn announced(mut command: Command) -> Result<Server> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let port = BufReader::new(stdout).lines().map_while(std::result::Result::ok).find_map(|line| {
        line.trim().strip_prefix("listens")?.trim().strip_prefix("127.0.0.1:")?.parse().ok()
    });
    let server = Server { child, port: port.unwrap_or(0), log: None };
    if server.port == 0 { Err("did not start".into()) } else { Ok(server) }
}

/// Starts a server that takes its port from a file.
fn configured(
    lab: &Lab,
    participant: &Participant,
    case: &Case,
    text: fn(&Place<'_>) -> String,
    before: &[&str],
    after: &[&str],
) -> Result<Server> {
    let port = free_port()?;
    let (here, site) = (&*lab.directory, lab.site(case.work));
    let path = lab.directory.join(format!("{}.conf", participant.name));
    fs::write(&path, text(&Place { here, site, port, tls: case.tls, log: log(lab, participant) }))?;
    let mut command = pinned(SERVER_CORE, &participant.program);
    command.args(before).arg(path).args(after);
    answering(lab, participant, command, port)
}

fn static_web_server(lab: &Lab, participant: &Participant, case: &Case) -> Result<Server> {
    let port = free_port()?;
    let mut command = pinned(SERVER_CORE, &participant.program);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--threads-multiplier", "1"]);
    command.args(["--log-level", "error", "--root"]).arg(lab.directory.join(lab.site(case.work)));
    if case.tls {
        command.args(["--http2", "true", "--http2-tls-cert"]).arg(lab.cert());
        command.arg("--http2-tls-key").arg(lab.directory.join("key.pem"));
    }
    answering(lab, participant, command, port)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn answering(lab: &Lab, participant: &Participant, mut command: Command, port: u16) -> Result<Server> {
    let log = lab.directory.join(format!("{}.log", participant.name));
    let file = fs::File::create(&log)?;
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let mut server = Server { child, port, log: None };
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > Duration::from_secs(10) || server.child.try_wait()?.is_some() {
            return Err(format!("did not start: {}", fs::read_to_string(&log)?.trim()).into());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// About what sitar writes for a request.
const NGINX_LOG: &str = r#"{"ts":$msec,"remote_ip":"$remote_addr","proto":"$server_protocol","method":"$request_method","host":"$host","uri":"$request_uri","user_agent":"$http_user_agent","referer":"$http_referer","tls":"$ssl_protocol","cipher_suite":"$ssl_cipher","duration":$request_time,"size":$body_bytes_sent,"status":$status}"#;

fn nginx(Place { here, site, port, tls, log }: &Place<'_>) -> String {
    let here = here.display();
    let listen = if *tls { " ssl http2" } else { "" };
    let certificate = if *tls {
        format!("ssl_certificate {here}/cert.pem; ssl_certificate_key {here}/key.pem; ssl_protocols TLSv1.3;")
    } else {
        String::new()
    };
    let log = log.as_ref().map_or("access_log off;".into(), |log| {
        format!(
            "log_format lines escape=json '{NGINX_LOG}'; access_log {} lines buffer=64k flush=1s;",
            log.display()
        )
    });
    format!(
        "worker_processes 1; worker_rlimit_nofile 20000; daemon off; pid {here}/nginx.pid; error_log stderr error;\n\
         events {{ worker_connections {CONNECTIONS_MAX}; }}\n\
         http {{ {log} sendfile on; tcp_nopush on; keepalive_requests 1000000000; \
         keepalive_timeout {IDLE_SECONDS}s; open_file_cache max=5000 inactive=600s; open_file_cache_valid 600s; \
         default_type application/octet-stream;\n\
         server {{ listen 127.0.0.1:{port}{listen}; root {here}/{site}; {certificate} }} }}\n"
    )
}

fn h2o(Place { here, site, port, tls, log }: &Place<'_>) -> String {
    let here = here.display();
    // The key in the server's own process, as it is with all others.
    let certificate = if *tls {
        format!(
            ", ssl: {{certificate-file: {here}/cert.pem, key-file: {here}/key.pem, neverbleed: OFF, \
             minimum-version: TLSv1.2, ocsp-update-interval: 0}}"
        )
    } else {
        String::new()
    };
    // In the combined format, if nothing else is said.
    let log = log.as_ref().map_or(String::new(), |log| format!("access-log: {}\n", log.display()));
    format!(
        "{log}num-threads: 1\nmax-connections: {CONNECTIONS_MAX}\nhttp1-request-timeout: {IDLE_SECONDS}\n\
         listen: {{host: 127.0.0.1, port: {port}{certificate}}}\n\
         hosts: {{default: {{paths: {{/: {{file.dir: {here}/{site}}}}}}}}}\n"
    )
}

fn lighttpd(Place { here, site, port, tls, log }: &Place<'_>) -> String {
    let here = here.display();
    // A file without a type that it knows gets no ETag.
    let tls = if *tls {
        format!(
            "server.modules += (\"mod_openssl\")\nssl.engine = \"enable\"\nssl.pemfile = \"{here}/cert.pem\"\n\
             ssl.privkey = \"{here}/key.pem\"\nssl.openssl.ssl-conf-cmd = (\"MinProtocol\" => \"TLSv1.3\")\n"
        )
    } else {
        String::new()
    };
    let log = log.as_ref().map_or(String::new(), |log| {
        format!("server.modules += (\"mod_accesslog\")\naccesslog.filename = \"{}\"\n", log.display())
    });
    format!(
        "mimetype.assign = (\".bin\" => \"application/octet-stream\")\nserver.document-root = \"{here}/{site}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.max-keep-alive-requests = 65535\nserver.max-keep-alive-idle = {IDLE_SECONDS}\n\
         server.max-connections = {CONNECTIONS_MAX}\nserver.max-fds = 20000\nserver.max-read-idle = {IDLE_SECONDS}\n\
         server.max-write-idle = {IDLE_SECONDS}\n{tls}{log}"
    )
}
