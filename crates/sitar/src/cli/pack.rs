//! The arguments of `sitar pack`.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::Args;

/// The arguments of `sitar pack`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Pack {
    /// The directory with the finished site
    pub directory: PathBuf,

    /// The archive to write, or - for standard output; one that is there is replaced when the new
    /// one is whole
    #[arg(long, short, value_name = "FILE", default_value = "site.tar", env = "SITAR_OUTPUT")]
    pub output: PathBuf,

    /// An earlier pack whose encodings are taken over for files that are the same [default: the
    /// archive that is replaced]
    #[arg(long, value_name = "FILE", env = "SITAR_REUSE", conflicts_with = "no_reuse")]
    pub reuse: Option<PathBuf>,

    /// Encode every file again
    #[arg(long, env = "SITAR_NO_REUSE", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_reuse: bool,

    /// Encode in seconds, for previews: encodings are larger, and the best ones are made when
    /// packing without this
    #[arg(long, env = "SITAR_FAST", value_parser = clap::builder::FalseyValueParser::new())]
    pub fast: bool,

    /// Threads that read and encode [default: one per core]
    #[arg(long, value_name = "N", env = "SITAR_THREADS", value_parser = crate::settings::values::shards)]
    pub threads: Option<NonZeroU16>,

    /// Pack what links lead to outside of the directory, too; never what lies in /proc and its
    /// like, and no devices. Anyone who can put a link into the directory then publishes any file
    /// that this user may read
    #[arg(long, env = "SITAR_FOLLOW_LINKS", value_parser = clap::builder::FalseyValueParser::new())]
    pub follow_links: bool,

    /// No file's time is later than this, in seconds since 1970: a fresh checkout then packs to the
    /// same bytes as the last one
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub source_date_epoch: Option<u64>,

    /// Pack files at the root that configure other hosts of sites, such as netlify.toml,
    /// wrangler.toml and CNAME; they are served with the same flag of sitar serve
    #[arg(long, env = "SITAR_SERVE_CONFIG_FILES", value_parser = clap::builder::FalseyValueParser::new())]
    pub serve_config_files: bool,

    /// Print what was done as JSON
    #[arg(long, env = "SITAR_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub json: bool,
}
