//! The page: from what was measured to text, and to JSON. Nothing here measures.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::kernel::{Calls, Missing, Usage};
use super::load::Tally;
use crate::admin::{grouped, size};

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) command: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) engine: String,
    pub(super) sandbox: String,
    pub(super) content_len: usize,
    pub(super) connections: u16,
    /// Of the run in which was counted.
    pub(super) counted: Tally,
    /// What the server has counted as answered, and as bytes of content, meanwhile.
    pub(super) server_answers: u64,
    pub(super) server_content: u64,
    /// `None`: with another engine there are none.
    pub(super) server_enters: Option<u64>,
    pub(super) kernel_sealed: u64,
    pub(super) handshakes: u64,
    pub(super) calls: Result<Calls, Missing>,
    pub(super) allocations: Result<u64, Missing>,
    pub(super) instructions: Result<(u64, bool), Missing>,
    pub(super) switches: Usage,
    pub(super) threads_changed: bool,
    /// Of the second run, without counters.
    pub(super) priced: Tally,
    pub(super) price: Usage,
    pub(super) seconds: f64,
    /// Ticks of a second.
    pub(super) ticks: u64,
    pub(super) worker_memory: Option<u64>,
    pub(super) supervisor_memory: Option<u64>,
}

/// System calls by name on the page, at most.
const NAMES: usize = 6;

/// Whether two counts of one thing agree, which are not stopped in the same moment: by as many as
/// the ends of the run can hold for each connection, or one in a thousand.
pub(super) fn agree(one: u64, other: u64, connections: u16) -> bool {
    one.abs_diff(other) <= (2 * u64::from(connections) + 8).max(one / 1000)
}

impl Measured {
    /// Returns the kernel's count of `io_uring_enter` with the server's own, and whether they
    /// agree.
    fn enters(&self) -> Option<(u64, u64, bool)> {
        let kernel = self.calls.as_ref().ok()?.names.get("io_uring_enter").copied().unwrap_or_default();
        let server = self.server_enters?;
        Some((kernel, server, agree(kernel, server, self.connections)))
    }

    fn tls(&self) -> &'static str {
        match self.kernel_sealed {
            0 => "sealed by sitar",
            sealed if sealed >= self.handshakes => "sealed by the kernel",
            _ => "sealed by the kernel on some connections, by sitar on others",
        }
    }

    /// Returns the price: CPU seconds of a million requests (all, user, system, polling), and cores
    /// taken.
    fn prices(&self) -> [f64; 5] {
        let million = |seconds: f64| seconds * 1e6 / self.priced.answers.max(1) as f64;
        let nanoseconds = |count: u64| count as f64 / 1e9;
        let ticks = |count: u64| count as f64 / self.ticks.max(1) as f64;
        let Usage { user, system, running, polling, .. } = self.price;
        let cores = (nanoseconds(running) + nanoseconds(polling)) / self.seconds.max(1e-9);
        // The split is known in ticks, the sum to the nanosecond.
        let share = ticks(user) / (ticks(user) + ticks(system)).max(1e-9);
        let running = million(nanoseconds(running));
        let polling = million(nanoseconds(polling));
        [running + polling, running * share, running * (1.0 - share), polling, cores]
    }

    /// Returns the page.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("## sitar prove\n\n");
        // Writing to a String cannot fail.
        let mut fact = |name: &str, value: &str| {
            let _ = writeln!(text, "- {name}: {value}");
        };
        fact("command", &format!("`{}`", self.command));
        let build = if cfg!(debug_assertions) { ", a debug build" } else { "" };
        fact("sitar", &format!("{}{build}", env!("CARGO_PKG_VERSION")));
        fact("kernel", &self.kernel);
        fact("CPU", &self.cpu);
        fact("engine", &self.engine);
        fact("sandbox", &self.sandbox);
        fact("TLS", self.tls());
        let (length, connections) = (grouped(self.content_len as u64), grouped(self.connections.into()));
        fact(
            "load",
            &format!(
                "{} requests for {length} bytes on {connections} connections, HTTP/1.1 over TLS on loopback, after a \
                 warm-up; each answer was compared byte by byte",
                grouped(self.counted.answers)
            ),
        );
        text += "\n| counted | in all | each request | by |\n|---|--:|--:|---|\n";
        self.counted_rows(&mut text);
        text.push('\n');
        self.agreement(&mut text);
        let priced = grouped(self.priced.answers);
        let _ = writeln!(
            text,
            "\nThe price, of {priced} further requests in {:.2} s without counters:\n\n| price | |\n|---|--:|",
            self.seconds
        );
        self.price_rows(&mut text);
        text += "\nNot measured here:\n\n";
        for why in self.missing() {
            let _ = writeln!(text, "- {why}");
        }
        text
    }

    fn counted_rows(&self, text: &mut String) {
        let requests = self.counted.answers.max(1) as f64;
        let mut row = |name: &str, count: u64, by: &str| {
            let each = count as f64 / requests;
            let _ = writeln!(text, "| {name} | {} | {each:.4} | {by} |", grouped(count));
        };
        if let Ok(calls) = &self.calls {
            let by = "kernel, `raw_syscalls:sys_enter`";
            row("system calls", calls.all, by);
            let mut names: Vec<_> = calls.names.iter().collect();
            names.sort_unstable_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
            let mut rest = calls.all;
            for (name, count) in names.into_iter().take(NAMES) {
                row(&format!("of these `{name}`"), *count, by);
                rest = rest.saturating_sub(*count);
            }
            row("of these others", rest, by);
        }
        if let Some(enters) = self.server_enters {
            row("`io_uring_enter`", enters, "server");
        }
        row("answers", self.server_answers, "server");
        row("bytes of content", self.server_content, "server");
        row("bytes of content", self.counted.content, "clients");
        row("bytes from the server, TLS and heads with them", self.counted.received, "clients");
        row("bytes to the server", self.counted.sent, "clients");
        if let Ok(count) = self.allocations {
            row("allocations, `malloc` and its like", count, "kernel, uprobes in libc");
        }
        row("context switches, voluntary", self.switches.voluntary, "kernel, /proc");
        row("context switches, involuntary", self.switches.involuntary, "kernel, /proc");
        row("page faults, minor", self.switches.minor_faults, "kernel, /proc");
        row("page faults, major", self.switches.major_faults, "kernel, /proc");
        if let Ok((count, user_only)) = self.instructions {
            let name = if user_only { "instructions, user mode only" } else { "instructions" };
            row(name, count, "CPU");
        }
    }

    fn agreement(&self, text: &mut String) {
        let answers = self.server_answers == self.counted.answers;
        let content = self.server_content == self.counted.content;
        let word = if answers && content { "agree" } else { "DO NOT AGREE" };
        let _ = writeln!(text, "Server and clients {word} on answers and bytes of content.");
        if let Some((kernel, server, agree)) = self.enters() {
            let word = if agree { "agree" } else { "DO NOT AGREE" };
            let (kernel, server) = (grouped(kernel), grouped(server));
            let _ = writeln!(
                text,
                "Kernel and server {word} on `io_uring_enter`: {kernel} and {server} (they do not stop counting in the \
                 same moment)."
            );
        }
        if self.threads_changed {
            *text += "Threads have ended or begun meanwhile: counts of those that have ended are missing.\n";
        }
    }

    fn price_rows(&self, text: &mut String) {
        let [all, user, system, polling, cores] = self.prices();
        let memory = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), size);
        for (name, value) in [
            ("CPU seconds of a million requests", format!("{all:.2}")),
            ("of these user", format!("{user:.2}")),
            ("of these system", format!("{system:.2}")),
            ("of these the kernel's polling thread", format!("{polling:.2}")),
            ("cores taken meanwhile", format!("{cores:.2}")),
            ("resident memory of the worker", memory(self.worker_memory)),
            ("resident memory of the supervisor", memory(self.supervisor_memory)),
        ] {
            let _ = writeln!(text, "| {name} | {value} |");
        }
    }

    /// Returns what was not measured, with the reason.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Err(why) = &self.calls {
            missing.push(format!("system calls by the kernel: {why}"));
        }
        if let Err(why) = &self.instructions {
            missing.push(format!("instructions: {why}"));
        }
        if let Err(why) = &self.allocations {
            missing.push(format!("allocations: {why}"));
        }
        missing.push("copies of bytes in memory: no counter of the kernel or the CPU tells them".to_owned());
        missing.push("the kernel's work outside of the server's threads, such as interrupts".to_owned());
        missing
    }

    /// Returns the same for programs.
    pub(super) fn json(&self) -> Value {
        let [all, user, system, polling, cores] = self.prices();
        let calls = self.calls.as_ref().ok();
        json!({
            "schema": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "command": self.command,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "engine": self.engine,
            "sandbox": self.sandbox,
            "tls": self.tls(),
            "connections": self.connections,
            "content_length": self.content_len,
            "requests": self.counted.answers,
            "system_calls": calls.map(|calls| json!({ "all": calls.all, "names": calls.names })),
            "io_uring_enters": self.server_enters,
            "enters_agree": self.enters().map(|(.., agree)| agree),
            "server": { "answers": self.server_answers, "response_bytes": self.server_content },
            "clients": {
                "response_bytes": self.counted.content,
                "bytes_received": self.counted.received,
                "bytes_sent": self.counted.sent,
            },
            "context_switches": {
                "voluntary": self.switches.voluntary, "involuntary": self.switches.involuntary,
            },
            "page_faults": { "minor": self.switches.minor_faults, "major": self.switches.major_faults },
            "allocations": self.allocations.as_ref().ok(),
            "instructions": self.instructions.as_ref().ok().map(|(count, _)| count),
            "price": {
                "requests": self.priced.answers,
                "seconds": self.seconds,
                "cpu_seconds_per_million": all,
                "user_seconds_per_million": user,
                "system_seconds_per_million": system,
                "polling_seconds_per_million": polling,
                "cores": cores,
                "worker_memory_bytes": self.worker_memory,
                "supervisor_memory_bytes": self.supervisor_memory,
            },
            "not_measured": self.missing(),
        })
    }
}
