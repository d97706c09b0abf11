//! The arguments of `sitar config`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::settings::ConfigFile;

/// The actions of `sitar config`.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ConfigAction {
    /// Write a configuration file in which comments explain all keys
    Init {
        /// The file, or - for standard output; one that is there is not replaced
        #[arg(default_value = "sitar.toml")]
        file: PathBuf,
    },
    /// Open everything that a start with this configuration would open, and change nothing; exit
    /// code 3 when something is wrong
    Check(ConfigFile),
    /// Print what is in force, with the origin of each value
    Show(ConfigFile),
    /// Print the JSON schema of configuration files, for editors
    Schema,
}
