//! One case on all servers: rounds in turn.

use super::results::{Row, Table};
use crate::cases::{Case, Work};
use crate::participants::{Kind, Participant, SITAR_EPOLL, SITAR_MEMORY};
use crate::run::Run;
use crate::servers::Server;
use crate::site::Lab;
use crate::{Result, load, process};

/// A server that takes part, and its rounds.
struct Entrant<'a> {
    participant: &'a Participant,
    server: Server,
    expected: load::Expected,
    loads: Vec<load::Load>,
}

/// Returns the participants of a case. sitar on epoll takes part only in the case with a bound for
/// it, and sitar with more memory only where that makes a difference. There is no floor in HTTP/2,
/// which without HTTP would not be one.
pub(super) fn entrants<'a>(case: &Case, all: &'a [Participant]) -> impl Iterator<Item = &'a Participant> {
    let streams = matches!(case.work, Work::Streams(_));
    all.iter().filter(move |participant| match participant.kind {
        Kind::Floor => !streams,
        _ => match participant.name.as_str() {
            SITAR_EPOLL => case.name == "h1 TLS 1 KiB",
            SITAR_MEMORY => case.name == "h1 TLS 100 MiB",
            _ => true,
        },
    })
}

/// Starts all servers, checks and warms them, and gives each the same load in turn, so that all see
/// the same drift of the machine.
pub(super) fn run(lab: &Lab, run: &Run, case: &Case, all: &[Participant]) -> Result<Vec<Table>> {
    if case.work == Work::Random {
        lab.many_files()?;
    }
    let mut servers = Vec::new();
    for participant in entrants(case, all) {
        let server = Server::start(lab, participant, case)?;
        let what = format!("{}, {}, to begin with", case.name, participant.name);
        let begin = || {
            let expected = load::check(lab, participant, &server, case)?;
            load::warm_up(lab, &server, case, &expected)?;
            Ok(expected)
        };
        if let Some(expected) = run.attempt(participant, &what, begin)? {
            servers.push(Entrant { participant, server, expected, loads: Vec::new() });
        }
    }
    for _ in 0..run.rounds {
        let mut at = 0;
        while let Some(entrant) = servers.get_mut(at) {
            let what = format!("{}, {}", case.name, entrant.participant.name);
            let round = || load::round(lab, &entrant.server, case, &entrant.expected, run.seconds);
            match run.attempt(entrant.participant, &what, round)? {
                Some(load) => {
                    entrant.loads.push(load);
                    at += 1;
                }
                None => drop(servers.remove(at)),
            }
        }
    }
    let rows = servers.iter().map(|entrant| row(lab, case, entrant)).collect::<Result<Vec<_>>>()?;
    Ok(tables(case, &servers, rows))
}

fn row(lab: &Lab, case: &Case, entrant: &Entrant<'_>) -> Result<Row> {
    let paced = case.work == Work::Paced;
    Ok(Row {
        name: entrant.participant.name.clone(),
        is_peer: entrant.participant.is_peer(),
        figures: entrant.loads.iter().map(load::Load::each).collect(),
        rates: if paced { Vec::new() } else { entrant.loads.iter().map(|load| load.rate).collect() },
        resident: Some(process::resident(entrant.server.pid())?),
        calls: Some(load::calls(lab, &entrant.server, case, &entrant.expected)),
    })
}

/// Returns the table of CPU; in a paced case, tables of latencies beside it.
fn tables(case: &Case, servers: &[Entrant<'_>], rows: Vec<Row>) -> Vec<Table> {
    let note = match case.work {
        Work::Random => "nginx keeps 5,000 open files; the floor sends the same 1 KiB each time",
        Work::Handshakes { .. } => "P-256 certificate, X25519; full and resumed ones counted by the clients",
        Work::Streams(_) => "h2load, with 32 streams on each connection, or 100 on one",
        Work::Paced => "h2load sends 6,400 requests/s on 64 connections, whether answers have come or not",
        _ if case.is_large() => "bytes received over the length of an answer",
        _ => "",
    };
    let mut tables = vec![Table { name: case.name.into(), unit: "µs of CPU per request", rows, note }];
    if case.work != Work::Paced {
        return tables;
    }
    for (place, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
        let rows = servers.iter().map(|entrant| Row {
            name: entrant.participant.name.clone(),
            is_peer: entrant.participant.is_peer(),
            figures: entrant.loads.iter().filter_map(|load| Some(load.latency?[place])).collect(),
            ..Row::default()
        });
        tables.push(Table {
            name: format!("{}, {name}", case.name),
            unit: "µs until the answer",
            rows: rows.collect(),
            note: "",
        });
    }
    tables
}
