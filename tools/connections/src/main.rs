//! Connections of a running sitar: a line for each at its end, from the probes and from TCP.

mod join;
mod record;
mod report;

use join::Join;
use libbpf_rs::{MapCore, MapFlags, ObjectBuilder, RingBufferBuilder};
use record::Record;
use report::Summary;
use std::cell::RefCell;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The kernel's side, compiled.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/connections.bpf.o"));

const USAGE: &str = "usage: sitar-connections [--json] [--port PORT]... PROGRAM

A line for each connection of a running sitar at its end: what the probes of PROGRAM (such as
/usr/bin/sitar, or /proc/PID/exe) say of it, and what TCP says. Ctrl-C ends it, with a summary.

  --json        one object of JSON a line
  --port PORT   only connections to this port; may be repeated, 64 times at most";

/// The port that stands for all.
const EVERY_PORT: u16 = 0;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("error: {reason}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match trace(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Options {
    program: PathBuf,
    ports: Vec<u16>,
    json: bool,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Options, String> {
        let (mut program, mut ports, mut json) = (None, Vec::new(), false);
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--json") => json = true,
                Some("--port") => {
                    let port = args.next().and_then(|port| port.to_str()?.parse().ok());
                    match port {
                        Some(EVERY_PORT) | None => return Err("--port takes a number from 1 to 65535".into()),
                        Some(port) => ports.push(port),
                    }
                    if ports.len() > 64 {
                        return Err("--port is given more than 64 times".into());
                    }
                }
                Some(flag) if flag.starts_with('-') => return Err(format!("{flag} is no option")),
                _ if program.is_none() => program = Some(PathBuf::from(arg)),
                _ => return Err("more than one program".into()),
            }
        }
        Ok(Options { program: program.ok_or("which program?")?, ports, json })
    }
}

/// Traces until it is interrupted.
fn trace(options: &Options) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let object = ObjectBuilder::default().open_memory(OBJECT)?.load()?;
    let map = |name: &str| object.maps().find(|map| map.name() == name).ok_or(format!("no map {name}"));
    let ports = map("ports")?;
    for port in if options.ports.is_empty() { &[EVERY_PORT][..] } else { &options.ports } {
        ports.update(&port.to_ne_bytes(), &[1], MapFlags::ANY)?;
    }

    let state = RefCell::new((Join::default(), Summary::default()));
    let print = |text: &str| -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    };
    let broken = RefCell::new(None);
    let records = map("records")?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&records, |bytes| {
        let (join, summary) = &mut *state.borrow_mut();
        for (ended, tcp) in Record::parse(bytes).map(|record| join.take(record)).unwrap_or_default() {
            summary.add(&ended, tcp.as_ref());
            if let Err(error) = print(&report::line(&ended, tcp.as_ref(), options.json)) {
                *broken.borrow_mut() = Some(error);
            }
        }
        0
    })?;
    let ring = builder.build()?;

    let mut links = Vec::new();
    for program in object.progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let link = if name == "tcp_closed" {
            program.attach()
        } else {
            program.attach_usdt(-1, &options.program, "sitar", &name)
        };
        links.push(link.map_err(|error| format!("{name}: {error:#}"))?);
    }
    if !options.json {
        print(report::HEAD)?;
    }
    eprintln!("attached to {}", options.program.display());
    while !stop.load(Ordering::Relaxed) && broken.borrow().is_none() {
        // An interrupted wait is no error; the flag says why it was interrupted.
        let waited = ring.poll_raw(Duration::from_millis(200));
        if waited < 0 && !stop.load(Ordering::Relaxed) {
            return Err(format!("the ring buffer cannot be read: error {}", -waited).into());
        }
    }
    drop(links);
    ring.consume()?;
    drop(ring);

    let lost = map("lost")?.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY)?;
    let lost = lost.and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?))).unwrap_or(0);
    if let Some(error) = broken.take() {
        return Err(error.into());
    }
    let (mut join, mut summary) = state.into_inner();
    for ended in join.rest() {
        summary.add(&ended, None);
        print(&report::line(&ended, None, options.json))?;
    }
    print(&summary.print(lost, options.json))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn options_are_read_or_refused() {
        let options = Options { program: "/usr/bin/sitar".into(), ports: vec![443, 8443], json: true };
        let args = ["--port", "443", "/usr/bin/sitar", "--json", "--port", "8443"];
        assert_eq!(parse(&args), Ok(options));
        for refused in [&[][..], &["--jsn", "x"], &["x", "y"], &["x", "--port"], &["x", "--port", "0"]] {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }
}
