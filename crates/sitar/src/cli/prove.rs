//! The arguments of `sitar prove`.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::Args;

use crate::settings::{EngineChoice, values};

/// The arguments of `sitar prove`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Prove {
    /// The site to measure: an archive or a directory [default: one file of 1 KiB]
    pub path: Option<PathBuf>,

    /// What is asked for, as in a URL [default: / of PATH]
    #[arg(long, value_name = "TARGET", requires = "path")]
    pub target: Option<String>,

    /// How bytes are moved: auto, uring, sqpoll or epoll
    #[arg(long, default_value = "auto", value_parser = values::word::<EngineChoice>)]
    pub engine: EngineChoice,

    /// Requests that are counted
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: u64,

    /// Seconds of load instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600), conflicts_with = "requests")]
    pub seconds: Option<u32>,

    /// Connections that ask, each for one file after the other
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,

    /// Number of shards, as for `sitar serve`
    #[arg(long, value_name = "N", value_parser = values::shards)]
    pub shards: Option<NonZeroU16>,

    /// Name the server's process, and wait for a line on standard input before and after the run
    /// that is counted, for another program to count as well
    #[arg(long)]
    pub hold: bool,

    /// Print JSON for a program
    #[arg(long)]
    pub json: bool,

    /// Serve a configuration for as long as this process is the parent: how the command starts its
    /// server.
    #[arg(long, hide = true, value_name = "PID", requires = "path")]
    pub serve_for: Option<u32>,
}
