//! Compares what an echo costs the server's thread in CPU, kernel included, in three models: a
//! plain loop, a future for each connection, and a stack for each connection.
//!
//! `cargo run --release -p sitar-io --example measure [ROUNDS] [ECHOES] [CONNECTIONS]` runs it. It
//! is no part of the bench, because it is published with the examples that it measures.
//!
//! A client on another thread writes 64 bytes to each connection, then reads them from each,
//! repeatedly. The servers take turns, so that all of them see the same drift of the machine; the
//! median of the rounds counts.
#![forbid(unsafe_code)]
#![allow(
    dead_code,
    clippy::duplicate_mod,
    reason = "the examples are programs, each with its modules and `main`"
)]

#[path = "async_echo.rs"]
mod async_echo;
#[path = "plain_echo.rs"]
mod plain_echo;
#[path = "stackful_echo.rs"]
mod stackful_echo;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sitar_io::Stats;

const MESSAGE: usize = 64;

/// CPU and system calls of a server since its start.
#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    calls: u64,
}

/// A question to a server on its own thread: its costs so far. Hanging up ends the server.
type Question = Sender<Spent>;

/// Turns until the asking side hangs up.
fn serve(
    questions: &Receiver<Question>,
    mut turn: impl FnMut(Option<Instant>) -> std::io::Result<Stats>,
) -> std::io::Result<()> {
    loop {
        let stats = turn(Some(Instant::now() + Duration::from_millis(20)))?;
        match questions.try_recv() {
            Ok(answer) => {
                let time = clock_gettime(ClockId::ThreadCPUTime);
                let cpu = Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32);
                // The asking side may have gone.
                let _ = answer.send(Spent { cpu, calls: stats.calls });
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
enum Model {
    Plain,
    Future,
    Stack,
}

const MODELS: [(Model, &str); 3] =
    [(Model::Plain, "plain loop"), (Model::Future, "async fn"), (Model::Stack, "stackful")];

impl Model {
    fn run(self, listener: TcpListener, questions: &Receiver<Question>) -> std::io::Result<()> {
        match self {
            Model::Plain => {
                let mut server = plain_echo::Echo::new(&plain_echo::CONFIG, listener)?;
                serve(questions, |until| server.turn(until).map(|()| server.stats()))
            }
            Model::Future => {
                let mut server = async_echo::server(&async_echo::CONFIG, listener)?;
                serve(questions, |until| server.turn(until).map(|()| server.stats()))
            }
            Model::Stack => {
                let mut server = stackful_echo::server(&stackful_echo::CONFIG, listener)?;
                serve(questions, |until| server.turn(until).map(|()| server.stats()))
            }
        }
    }
}

/// Writes to all and reads from all, once a round.
fn exchange(clients: &mut [TcpStream], rounds: usize) -> std::io::Result<()> {
    let (message, mut got) = ([7; MESSAGE], [0; MESSAGE]);
    for _ in 0..rounds {
        for client in &mut *clients {
            client.write_all(&message)?;
        }
        for client in &mut *clients {
            client.read_exact(&mut got)?;
        }
    }
    Ok(())
}

/// Returns the CPU nanoseconds and system calls per echo.
fn load(
    ask: &Sender<Question>,
    address: SocketAddr,
    echoes: usize,
    connections: usize,
) -> std::io::Result<(f64, f64)> {
    let spent = || {
        let (answer, spent) = channel();
        ask.send(answer).map_err(std::io::Error::other)?;
        spent.recv().map_err(std::io::Error::other)
    };
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = TcpStream::connect(address)?;
        client.set_nodelay(true)?;
        clients.push(client);
    }
    let rounds = echoes.div_ceil(connections);
    exchange(&mut clients, rounds / 10 + 1)?;
    let before = spent()?;
    exchange(&mut clients, rounds)?;
    let after = spent()?;
    let echoes = (rounds * connections) as f64;
    Ok(((after.cpu - before.cpu).as_nanos() as f64 / echoes, (after.calls - before.calls) as f64 / echoes))
}

fn measure(model: Model, echoes: usize, connections: usize) -> std::io::Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (ask, questions) = channel();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || model.run(listener, &questions));
        let measured = load(&ask, address, echoes, connections);
        drop(ask);
        let served = server.join().map_err(|_| std::io::Error::other("the server panicked"))?;
        served.and(measured)
    })
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(0.0)
}

fn main() -> std::io::Result<()> {
    let argument = |n: usize, default: usize| {
        std::env::args().nth(n).and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
    };
    let (rounds, echoes, connections) = (argument(1, 7), argument(2, 200_000), argument(3, 64).min(1000));
    let mut measured: [(Vec<f64>, Vec<f64>); 3] = Default::default();
    for _ in 0..rounds {
        for ((model, _), (cpu, calls)) in MODELS.iter().zip(&mut measured) {
            let one = measure(*model, echoes, connections)?;
            cpu.push(one.0);
            calls.push(one.1);
        }
    }
    println!("{echoes} echoes of {MESSAGE} bytes over {connections} connections, {rounds} rounds");
    println!("{:<12} {:>14} {:>10} {:>10} {:>14}", "", "CPU ns/echo", "least", "ratio", "calls/echo");
    let plain = median(&mut measured[0].0);
    for ((_, name), (cpu, calls)) in MODELS.iter().zip(&mut measured) {
        let (cpu, calls, least) = (median(cpu), median(calls), cpu.iter().copied().fold(f64::MAX, f64::min));
        println!("{name:<12} {cpu:>14.0} {least:>10.0} {:>10.3} {calls:>14.3}", cpu / plain);
    }
    Ok(())
}
