//! One round of load on one server, and the check of its answers.

use crate::cases::{Case, FILES, PACE, RANGE, With, Work};
use crate::clients::{self, Clients};
use crate::participants::{Kind, Participant};
use crate::process::{cpu_nanoseconds, syscalls};
use crate::run::{CIPHER, LOAD_CORE, pinned};
use crate::servers::Server;
use crate::site::Lab;
use crate::{Result, stats};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A server's answer to this case's request, seen before anything is measured.
pub(crate) struct Expected {
    /// Bytes of head and body.
    size: u64,
    /// The field that each request carries, if any.
    field: Option<String>,
}

/// The figures of one round of load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// The server's CPU time, ns.
    pub(crate) cpu: f64,
    pub(crate) requests: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// In a paced case, µs: p50, p99, p99.9.
    pub(crate) latency: Option<[f64; 3]>,
}

impl Load {
    /// Returns the CPU per request, µs.
    pub(crate) fn each(&self) -> f64 {
        self.cpu / 1000.0 / self.requests
    }
}

/// Checks cipher, status and bytes of a server's answer.
pub(crate) fn check(lab: &Lab, participant: &Participant, server: &Server, case: &Case) -> Result<Expected> {
    if case.tls {
        let done = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", server.port)])
            .env("OPENSSL_CONF", lab.directory.join("openssl.cnf"))
            .stdin(Stdio::null())
            .output()?;
        if !text(&done.stdout).contains(&format!("Cipher is {CIPHER}")) {
            return Err(format!("another cipher than {CIPHER} was negotiated").into());
        }
    }
    let field = match case.work {
        Work::Closed { with: With::Range, .. } => {
            Some(format!("Range: bytes={}-{}", RANGE.0, RANGE.0 + RANGE.1 - 1))
        }
        // The floor gives no ETag, and does not look.
        Work::Closed { with: With::Etag, .. } => {
            let etag = etag(lab, server, case)?;
            let etag = if participant.kind == Kind::Floor { Some("\"floor\"".into()) } else { etag };
            Some(format!("If-None-Match: {}", etag.ok_or("no ETag")?))
        }
        Work::Closed { with: With::Nothing, .. }
        | Work::Random
        | Work::Streams(_)
        | Work::Paced
        | Work::Handshakes { .. }
        | Work::Idle
        | Work::Slow => None,
    };
    let got = lab.directory.join("got");
    let mut curl = Command::new("curl");
    let version = if let Work::Streams(_) = case.work { "--http2" } else { "--http1.1" };
    curl.args(["-sk", version, "-w", "%{http_code} %{size_download} %{size_header}", "-o"]).arg(&got);
    curl.args(field.iter().flat_map(|field| ["-H", field])).arg(url(server, case));
    let said = text(&curl.output()?.stdout);
    let head = said
        .strip_prefix(&format!("{} {} ", case.status, case.length))
        .and_then(|size| size.parse::<u64>().ok());
    let Some(head) = head else {
        return Err(format!("expected {} and {} bytes, got {said}", case.status, case.length).into());
    };
    if case.status != 304 && !is_right(lab, participant, case, &got)? {
        return Err("the answer's bytes are not the file's".into());
    }
    Ok(Expected { size: head + case.length as u64, field })
}

fn is_right(lab: &Lab, participant: &Participant, case: &Case, got: &Path) -> Result<bool> {
    let file = fs::read(lab.directory.join(lab.site(case.work)).join(case.file))?;
    // The floor has no ranges: it sends as many bytes, from the beginning.
    let from = if case.status == 206 && participant.kind != Kind::Floor { RANGE.0 } else { 0 };
    Ok(file.get(from..from + case.length) == Some(&fs::read(got)?[..]))
}

fn etag(lab: &Lab, server: &Server, case: &Case) -> Result<Option<String>> {
    let heads = lab.directory.join("heads");
    let body = lab.directory.join("got");
    Command::new("curl")
        .arg("-sk")
        .arg("-D")
        .arg(&heads)
        .arg("-o")
        .arg(body)
        .arg(url(server, case))
        .status()?;
    Ok(field_value(&fs::read_to_string(heads)?, "etag"))
}

fn field_value(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .next()
}

fn url(server: &Server, case: &Case) -> String {
    format!("{}://127.0.0.1:{}/{}", if case.tls { "https" } else { "http" }, server.port, case.file)
}

/// Has a server make all that it makes at first use, before the rounds.
pub(crate) fn warm_up(lab: &Lab, server: &Server, case: &Case, expected: &Expected) -> Result<()> {
    if case.work == Work::Random {
        // Each file at least once, as fast as it goes; the slowest of the servers does some 10,000
        // a second.
        let seconds = if lab.quick { 1 } else { FILES / 15_000 };
        let mut wrk = wrk(lab, server, case, expected, seconds as f64);
        closed(case, expected, &run(wrk.arg("ordered"))?)?;
        return Ok(());
    }
    round(lab, server, case, expected, 0.5).map(|_| ())
}

/// Does one round.
pub(crate) fn round(
    lab: &Lab,
    server: &Server,
    case: &Case,
    expected: &Expected,
    seconds: f64,
) -> Result<Load> {
    if let Work::Handshakes { resume } = case.work {
        return handshakes(lab, server, case, resume, seconds);
    }
    let opening = opening(lab, server, case)?;
    let mut command = command(lab, server, case, expected, seconds)?;
    let before = cpu_nanoseconds(server.pid())?;
    let said = run(&mut command)?;
    let cpu = (cpu_nanoseconds(server.pid())? - before) as f64 - opening;
    let (requests, latency) = match case.work {
        Work::Closed { .. } | Work::Random => (closed(case, expected, &said)?, None),
        Work::Paced => {
            let (requests, latency) = paced(lab, case, &said)?;
            (requests, Some(latency))
        }
        Work::Streams(_) => (streams(case, &said)?, None),
        Work::Handshakes { .. } | Work::Idle | Work::Slow => return Err("not done so".into()),
    };
    let took = duration(&said).unwrap_or(seconds);
    Ok(Load { cpu, requests, rate: requests / took, latency })
}

/// Returns the server's CPU time for opening and closing this case's TLS connections, ns. A round
/// begins with that; if it were counted, a cheap handshake would pass for a cheap request.
fn opening(lab: &Lab, server: &Server, case: &Case) -> Result<f64> {
    if !case.tls {
        return Ok(0.0);
    }
    let before = cpu_nanoseconds(server.pid())?;
    let mut command = clients::command(lab, server, case, "idle")?;
    command.arg("--silent");
    drop(Clients::open(command, case.connections as usize)?);
    // Until the last one is closed on the server's side too.
    sleep(Duration::from_millis(20));
    Ok((cpu_nanoseconds(server.pid())? - before) as f64)
}

/// Does a round with each request on a connection of its own. Tickets are gathered before it.
fn handshakes(lab: &Lab, server: &Server, case: &Case, resume: bool, seconds: f64) -> Result<Load> {
    let mut command = clients::command(lab, server, case, "handshakes")?;
    command.args(resume.then_some("--resume"));
    let mut clients = Clients::open(command, case.connections as usize)?;
    let before = cpu_nanoseconds(server.pid())?;
    let requests = clients.tell(&format!("go {seconds}"), "requests")?;
    let cpu = (cpu_nanoseconds(server.pid())? - before) as f64;
    Ok(Load { cpu, requests, rate: requests / seconds, latency: None })
}

/// Returns the system calls per request, or why they cannot be counted.
pub(crate) fn calls(
    lab: &Lab,
    server: &Server,
    case: &Case,
    expected: &Expected,
) -> std::result::Result<f64, String> {
    if !matches!(case.work, Work::Closed { .. } | Work::Random) {
        return Err("counted where wrk gives the load".into());
    }
    let mut command = command(lab, server, case, expected, 1.0).map_err(|error| error.to_string())?;
    let (calls, said) = syscalls(server.pid(), &mut command)?;
    let requests = closed(case, expected, &said).map_err(|error| error.to_string())?;
    Ok(calls as f64 / requests)
}

/// Returns the command that gives the load.
fn command(lab: &Lab, server: &Server, case: &Case, expected: &Expected, seconds: f64) -> Result<Command> {
    Ok(match case.work {
        Work::Paced => paced_load(lab, server, case, seconds),
        Work::Streams(each) => {
            let mut h2load = h2load(case, seconds);
            h2load.args(["-m", &each.to_string()]).arg(url(server, case));
            h2load
        }
        Work::Closed { .. } | Work::Random => wrk(lab, server, case, expected, seconds),
        Work::Handshakes { .. } | Work::Idle | Work::Slow => {
            return Err("our own clients give this load".into());
        }
    })
}

fn wrk(lab: &Lab, server: &Server, case: &Case, expected: &Expected, seconds: f64) -> Command {
    let mut wrk = pinned(LOAD_CORE, Path::new("wrk"));
    // Whole seconds only.
    wrk.args(["-t1", &format!("-c{}", case.connections), &format!("-d{}s", seconds.ceil())]);
    wrk.args(["--timeout", "30s"]);
    wrk.args(expected.field.iter().flat_map(|field| ["-H", field]));
    let (script, argument) = match case.work {
        Work::Closed { pipelined: 1, .. } => ("plain.lua", None),
        Work::Closed { pipelined, .. } => ("pipeline.lua", Some(pipelined as usize)),
        _ => ("files.lua", Some(lab.files)),
    };
    wrk.arg("-s").arg(lab.directory.join(script)).arg(url(server, case)).arg("--");
    wrk.args(argument.map(|number| number.to_string()));
    wrk.env("OPENSSL_CONF", lab.directory.join("openssl.cnf"));
    wrk
}

fn h2load(case: &Case, seconds: f64) -> Command {
    let mut h2load = pinned(LOAD_CORE, Path::new("h2load"));
    h2load.args(["-t", "1", "-c", &case.connections.to_string()]);
    h2load.arg(format!("--tls13-ciphers={CIPHER}")).args(["-D", &seconds.ceil().to_string()]);
    h2load
}

fn paced_load(lab: &Lab, server: &Server, case: &Case, seconds: f64) -> Command {
    let mut h2load = h2load(case, seconds + 1.0);
    let rate = (PACE / case.connections).to_string();
    // A request is sent when its time has come, if need be behind others that wait: the load does
    // not slow down with the server.
    h2load.args(["--h1", "-m", "1000", "--rps", &rate]);
    let _ = fs::remove_file(lab.directory.join("paced.log"));
    h2load.arg(format!("--log-file={}", lab.directory.join("paced.log").display()));
    h2load.arg(url(server, case));
    h2load
}

fn run(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output()?;
    if !status.success() {
        return Err(format!("the load failed: {}{}", text(&stdout), text(&stderr)).into());
    }
    Ok(text(&stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the number behind `name=` among the words.
fn number(said: &str, name: &str) -> Option<f64> {
    said.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

/// Returns the seconds that wrk took.
fn duration(said: &str) -> Option<f64> {
    Some(number(said, "duration")? / 1e6)
}

/// Returns the requests of a round of wrk, if all were answered as expected by the sum of bytes.
fn closed(case: &Case, expected: &Expected, said: &str) -> Result<f64> {
    let [requests, bytes, bad] = ["requests", "bytes", "bad"].map(|name| number(said, name));
    let (Some(requests), Some(bytes), Some(bad)) = (requests, bytes, bad) else {
        return Err(format!("wrk did not say what it did:\n{said}").into());
    };
    let size = expected.size as f64;
    // An ETag may be longer for one file than for another.
    let differs = if case.work == Work::Random { requests * 8.0 } else { 0.0 };
    let whole = requests * size;
    if bad > 0.0 || bytes < whole - differs || bytes > whole + differs + case.in_flight() as f64 * size {
        return Err(format!("answers are not as expected ({size} bytes each):\n{said}").into());
    }
    let requests = if case.is_large() { bytes / size } else { requests };
    if requests > 0.0 { Ok(requests) } else { Err("nothing was answered".into()) }
}

/// Requests of a round over HTTP/2, if all were answered as expected.
fn streams(case: &Case, said: &str) -> Result<f64> {
    // `requests: 900 total, 910 started, 812 done, 812 succeeded, …` and `traffic: … headers (…),
    // 97.66MB (102400000) data`.
    let answered = said.lines().find_map(|line| {
        let before = line.strip_prefix("requests: ")?.split_once(" succeeded, ")?.0;
        before.rsplit_once(", ")?.1.parse::<f64>().ok()
    });
    let (Some(answered), Some(bytes)) = (answered, content_bytes(said)) else {
        return Err(format!("h2load did not say what it did:\n{said}").into());
    };
    let size = case.length as f64;
    // (Statuses are counted when a head comes, so also of answers that are under way at the end.)
    let cipher = format!("Cipher: {CIPHER}");
    let signs = [", 0 failed, 0 errored, 0 timeout", " 2xx, 0 3xx, 0 4xx, 0 5xx", &cipher];
    let is_right = signs.iter().all(|sign| said.contains(sign));
    // At the end some answers are under way.
    if !is_right || bytes < answered * size || bytes > (answered + case.in_flight() as f64) * size {
        return Err(format!("answers are not as expected ({size} bytes each):\n{said}").into());
    }
    let requests = if case.is_large() { bytes / size } else { answered };
    if requests > 0.0 { Ok(requests) } else { Err("nothing was answered".into()) }
}

/// Answers that a paced load may have received for each that it logged.
const UNLOGGED_MAX: f64 = 1.02;

/// Returns the bytes of content that h2load has received.
fn content_bytes(said: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        line.strip_prefix("traffic: ")?.strip_suffix(") data")?.rsplit_once('(')?.1.parse().ok()
    })
}

/// Returns the requests and the percentiles of their latency, by h2load's log.
fn paced(lab: &Lab, case: &Case, said: &str) -> Result<(f64, [f64; 3])> {
    if !said.contains(&format!("Cipher: {CIPHER}")) || !said.contains(" 0 failed, 0 errored, 0 timeout") {
        return Err(format!("the load saw errors:\n{said}").into());
    }
    let answers = answers(&fs::read_to_string(lab.directory.join("paced.log"))?)?;
    let bytes = content_bytes(said).ok_or("h2load did not say how much it received")?;
    let size = case.length as f64;
    // Whole answers, and no fewer than are logged: the last few of each connection are not logged
    // when the time is over.
    let (received, logged) = (bytes / size, answers.len() as f64);
    if received.fract() != 0.0 || received < logged || received > logged * UNLOGGED_MAX {
        return Err(format!("{bytes} bytes for {logged} answers of {size}").into());
    }
    let mut latency = settled(&answers);
    latency.sort_by(f64::total_cmp);
    let of = |percent| stats::percentile(&latency, percent).ok_or("nothing was answered");
    Ok((answers.len() as f64, [of(50.0)?, of(99.0)?, of(99.9)?]))
}

/// Time until a paced load has its connections, µs: requests that were due while handshakes went on
/// say nothing about requests.
const SETTLING: f64 = 500_000.0;

/// Returns the latencies of requests that began later than that after the first.
fn settled(answers: &[(f64, f64)]) -> Vec<f64> {
    let first = answers.iter().map(|(start, _)| *start).fold(f64::INFINITY, f64::min);
    answers.iter().filter(|(start, _)| *start > first + SETTLING).map(|(_, took)| *took).collect()
}

/// Returns start and duration, µs, of each line: start, status, duration.
fn answers(log: &str) -> Result<Vec<(f64, f64)>> {
    let one = |line: &str| -> Option<(f64, f64)> {
        let mut columns = line.split('\t');
        let start = columns.next()?.parse().ok()?;
        (columns.next()? == "200").then_some(())?;
        Some((start, columns.next()?.trim().parse().ok()?))
    };
    log.lines().map(|line| one(line).ok_or_else(|| format!("not an answer: {line}").into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    const SAID: &str =
        "Running 1s test\n  22259 requests in 1.01s\ndone requests=100 bytes=130200 duration=1009839 bad=0\n";

    #[test]
    fn every_answer_has_its_length() {
        let case = CASES.iter().find(|case| case.name == "h1 TLS 1 KiB").unwrap();
        let expected = |size| Expected { size, field: None };
        assert_eq!(closed(case, &expected(1302), SAID).unwrap(), 100.0);
        assert!(closed(case, &expected(1303), SAID).is_err(), "shorter than expected");
        assert!(closed(case, &expected(700), SAID).is_err(), "longer than expected");
        assert!(closed(case, &expected(1302), &SAID.replace("bad=0", "bad=1")).is_err());
        assert!(closed(case, &expected(1302), "").is_err());
        assert_eq!(duration(SAID), Some(1.009839));
        // Of large answers, parts count.
        let case = CASES.iter().find(|case| case.name == "h1 TLS 1 MiB").unwrap();
        assert_eq!(closed(case, &expected(1240), SAID).unwrap(), 105.0);
    }

    #[test]
    fn streams_are_counted_whole() {
        let case = CASES.iter().find(|case| case.name == "h2 TLS 1 KiB").unwrap();
        let said = "Cipher: TLS_AES_128_GCM_SHA256\nrequests: 2 total, 2 started, 2 done, 2 succeeded, 0 failed, 0 errored, 0 timeout\n\
            status codes: 2 2xx, 0 3xx, 0 4xx, 0 5xx\n\
            traffic: 2.41KB (2470) total, 264B (264) headers (space savings 12.34%), 2.00KB (2048) data\n";
        assert_eq!(streams(case, said).unwrap(), 2.0);
        for (right, wrong) in [
            ("2 2xx, 0 3xx", "1 2xx, 1 3xx"),
            ("0 errored", "1 errored"),
            ("(2048) data", "(2047) data"),
            ("(2048) data", "(999999) data"),
            ("AES_128", "AES_256"),
        ] {
            assert!(streams(case, &said.replace(right, wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_tools_are_understood() {
        let log = "1795676071934382\t200\t85514\n1795676072934382\t200\t3\n";
        assert_eq!(settled(&answers(log).unwrap()), [3.0], "the first one is not settled");
        assert!(answers("1795676071934382\t-1\t85514\n").is_err());
        let head = "HTTP/1.1 200 OK\r\nDate: now\r\nETag: \"a:b\"\r\n\r\n";
        assert_eq!(field_value(head, "etag").as_deref(), Some("\"a:b\""));
    }
}
