//! The arguments of the verbs that speak with a running server.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use crate::trace;

/// The arguments of `sitar status`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Status {
    /// Print JSON for a program
    #[arg(long)]
    pub json: bool,

    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

/// The arguments of `sitar top`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Top {
    /// Seconds from one look to the next, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,

    /// Print JSON for a program, about one interval, and end
    #[arg(long)]
    pub json: bool,

    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    match seconds {
        Some(seconds @ 0.1..=3600.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0.1 to 3600".to_owned()),
    }
}

/// The arguments of `sitar trace`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Trace {
    /// Only answers of this host: the one that was asked for, or the first one of the site
    #[arg(long, value_name = "HOST", value_parser = trace::host)]
    pub host: Option<String>,

    /// Only answers for this path, as clients send it and without a query; with * at its end, for
    /// those that begin so
    #[arg(long, value_name = "PATH", value_parser = trace::path)]
    pub path: Option<String>,

    /// Only answers with this status, such as 404, or this class, such as 5xx
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub status: Option<String>,

    /// Of the answers that match, one of this many of each shard
    #[arg(long, value_name = "N", default_value = "1", value_parser = value_parser!(u32).range(1..))]
    pub sample: u32,

    /// Time after which it ends, such as 500ms, 10s, 5m or 1h, which is the most
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = trace::duration)]
    pub duration: Duration,

    /// Records after which it ends
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// Print the lines as they come, for a program
    #[arg(long)]
    pub json: bool,

    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

fn status(text: &str) -> Result<String, String> {
    trace::status(text).map(|_| text.to_ascii_lowercase())
}

/// The arguments of `sitar reload`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Reload {
    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

/// The arguments of `sitar drain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Drain {
    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

/// The arguments of `sitar upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Upgrade {
    /// Seconds that the new program may take until it serves
    #[arg(long, value_name = "SECONDS", default_value_t = crate::admin::UPGRADE_WAIT)]
    pub wait: u32,

    /// The server to ask.
    #[command(flatten)]
    pub server: Server,
}

/// Names the server that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Server {
    /// The server's admin socket [default: that of the configuration, else /run/sitar/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,

    /// The server's configuration, which names the socket [default: /etc/sitar/sitar.toml, if it is
    /// there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
