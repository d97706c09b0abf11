//! The arguments of `sitar cert`.

use clap::{Subcommand, ValueEnum};

use super::Server;

/// The actions of `sitar cert`.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CertAction {
    /// List the certificates that a running server orders: what is served, and until when
    List {
        /// Print JSON for a program
        #[arg(long)]
        json: bool,

        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Show all that is known of certificates: the last failure, the next order
    Show {
        /// The name of a certificate or one of the names in it [default: all]
        name: Option<String>,

        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Have a certificate ordered now, whatever its time is
    Renew {
        /// The name of the certificate, or one of the names in it
        name: String,

        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Revoke a certificate, and have another one ordered with another key
    Revoke {
        /// The name of the certificate, or one of the names in it
        name: String,

        /// Why
        #[arg(long, value_enum, default_value = "unspecified")]
        reason: RevocationReason,

        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Look whether an authority could certify a name: addresses, ports, CAA records. No server and
    /// no authority is asked
    #[command(after_help = "Exit codes: 0 nothing was found, 1 failed, 2 usage, 3 something was found.")]
    Check {
        /// A name, a wildcard, or an IP address
        name: String,

        /// The domain that CAA records call the authority by
        #[arg(long, value_name = "DOMAIN", default_value = "letsencrypt.org")]
        authority: String,

        /// The DNS server to ask for CAA records [default: those of /etc/resolv.conf]
        #[arg(long, value_name = "ADDRESS")]
        resolver: Option<String>,
    },
    /// Replace the keys of the accounts with authorities
    RollOver {
        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
}

/// The reasons for which a subscriber revokes (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RevocationReason {
    /// None is given
    Unspecified,
    /// Someone else may have the key
    KeyCompromise,
    /// The names belong to someone else now
    AffiliationChanged,
    /// Another certificate has taken its place
    Superseded,
    /// The site is no more
    CessationOfOperation,
}

impl RevocationReason {
    /// Returns the number of RFC 5280 §5.3.1.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            RevocationReason::Unspecified => 0,
            RevocationReason::KeyCompromise => 1,
            RevocationReason::AffiliationChanged => 3,
            RevocationReason::Superseded => 4,
            RevocationReason::CessationOfOperation => 5,
        }
    }
}
