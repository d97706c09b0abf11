//! The arguments of `sitar doctor`.

use std::num::{NonZeroU16, NonZeroU32};

use clap::Args;

use crate::settings::values;

/// The arguments of `sitar doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Doctor {
    /// Print JSON for a program
    #[arg(long)]
    pub json: bool,

    /// Connections at most, all shards together, as for `sitar serve` [default: 8192 per shard]
    #[arg(long, value_name = "N", env = "SITAR_CONNECTIONS")]
    pub connections: Option<NonZeroU32>,

    /// Number of shards, as for `sitar serve` [default: one per core]
    #[arg(long, value_name = "N", env = "SITAR_SHARDS", value_parser = values::shards)]
    pub shards: Option<NonZeroU16>,
}
