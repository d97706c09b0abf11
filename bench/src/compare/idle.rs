//! Many connections that do little: their memory, and the CPU of the few that do something.

use super::results::{Row, Table};
use super::rounds;
use crate::cases::{Case, IDLE, Work};
use crate::clients::Clients;
use crate::participants::Participant;
use crate::process::{cpu_nanoseconds, resident};
use crate::run::{Run, pinned};
use crate::servers::{Server, announced};
use crate::site::{Lab, many};
use crate::{Result, clients, load};
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Time until a server has freed the memory of its handshakes.
const SETTLED: Duration = Duration::from_secs(3);
/// Rounds, one server after the other: these do not share the machine's drift anyway.
pub(super) const ROUNDS_MAX: usize = 3;
/// Factor of a round's time for slow readers: a server has to do something for each of them only
/// now and then, when a third of the bytes that its kernel keeps for the connection has gone.
const SLOW: f64 = 4.0;
/// Connections that come and go before anything is measured.
const FIRST: usize = 100;

/// Measures idle connections or slow readers, one server after the other: twice ten thousand
/// connections do not fit into one machine's limits.
pub(super) fn run(lab: &Lab, run: &Run, case: &Case, all: &[Participant]) -> Result<Vec<Table>> {
    let (mut memory, mut work) = (Vec::new(), Vec::new());
    for participant in rounds::entrants(case, all) {
        let what = format!("{}, {}", case.name, participant.name);
        let done = run.attempt(participant, &what, || one(lab, run, case, participant))?;
        let Some((kib, cpu)) = done else { continue };
        println!("{}, {}: {kib:.1} KiB each", case.name, participant.name);
        let row = |figures| Row {
            name: participant.name.clone(),
            is_peer: participant.is_peer(),
            figures,
            ..Row::default()
        };
        memory.push(row(vec![kib]));
        work.push(row(cpu));
    }
    let table = |name: String, unit, rows, note| Table { name, unit, rows, note };
    let memory_name = format!("{}, memory", case.name);
    Ok(if case.work == Work::Idle {
        let note = "resident memory gained, over the number of connections; each is alive afterwards";
        vec![
            table(memory_name, "KiB of user memory each", memory, note),
            table(
                format!("{}, 1 % active", case.name),
                "µs of CPU per request",
                work,
                "one request at a time",
            ),
        ]
    } else {
        let note = "64 connections, each reads 64 KiB ten times a second of an answer of 100 MiB";
        vec![
            table(memory_name, "KiB of user memory each", memory, note),
            table(format!("{}, CPU", case.name), "ms of CPU per MiB", work, ""),
        ]
    })
}

/// Returns the memory of each connection in KiB, and the CPU for the work of each round.
fn one(lab: &Lab, run: &Run, case: &Case, participant: &Participant) -> Result<(f64, Vec<f64>)> {
    let server = Server::start(lab, participant, case)?;
    load::check(lab, participant, &server, case)?;
    let idle = case.work == Work::Idle;
    let (verb, count) = match (idle, run.quick) {
        (true, false) => ("idle", IDLE),
        (true, true) => ("idle", IDLE / 10),
        (false, _) => ("slow", case.connections as usize),
    };
    let command = || clients::command(lab, &server, case, verb);
    drop(Clients::open(command()?, if idle { FIRST } else { 1 })?);
    sleep(SETTLED);
    let before = resident(server.pid())?;
    let mut clients = Clients::open(command()?, count)?;
    if !idle {
        clients.tell("read 2", "bytes")?;
    }
    sleep(if idle { SETTLED } else { Duration::ZERO });
    let each = (resident(server.pid())? as f64 - before as f64) / 1024.0 / count as f64;
    let mut cpu = Vec::new();
    for _ in 0..run.rounds.min(ROUNDS_MAX) {
        let start = cpu_nanoseconds(server.pid())?;
        let done = if idle {
            clients.tell(&format!("active {} {}", count / 100, run.seconds), "requests")?
        } else {
            clients.tell(&format!("read {}", run.seconds * SLOW), "bytes")? / f64::from(1 << 20)
        };
        let spent = (cpu_nanoseconds(server.pid())? - start) as f64;
        cpu.push(if idle { spent / 1e3 / done } else { spent / 1e6 / done });
    }
    if idle && clients.tell("check", "alive")? != count as f64 {
        return Err("some connections are gone".into());
    }
    Ok((each, cpu))
}

/// Returns the size of sitar's program without symbols, and its memory on a pack before any
/// request.
pub(super) fn size(lab: &Lab, sitar: &Participant) -> Result<Vec<Table>> {
    let stripped = lab.directory.join("stripped");
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(&sitar.program).status()?;
    if !done.success() {
        return Err("strip failed".into());
    }
    many(&lab.directory, 10_000)?;
    let pack = lab.directory.join("files-10000.pack.tar");
    if !pack.exists() {
        let mut command = Command::new(&sitar.program);
        command.arg("pack").arg(lab.directory.join("files-10000")).arg("-o").arg(&pack);
        if !command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            return Err("sitar pack failed".into());
        }
    }
    let mut command = pinned("0", &sitar.program);
    command.arg("serve").arg(&pack).args(["--shards", "1", "--listen", "127.0.0.1:0"]);
    command.arg("--tls-cert").arg(lab.cert()).arg("--tls-key").arg(lab.directory.join("key.pem"));
    let server = announced(command)?;
    sleep(SETTLED);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let table = |name: &str, unit, figure, note| Table {
        name: name.into(),
        unit,
        rows: vec![Row { name: sitar.name.clone(), figures: vec![figure], ..Row::default() }],
        note,
    };
    let resident = mib(resident(server.pid())?);
    Ok(vec![
        table(
            "idle on a pack of 10,000 files, memory",
            "MiB resident",
            resident,
            "nothing has been asked for",
        ),
        table("stripped program", "MiB", mib(fs::metadata(&stripped)?.len()), ""),
    ])
}
