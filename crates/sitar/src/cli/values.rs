//! Flags that take one word of a few.

use clap::ValueEnum;

/// Who seals records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Sitar itself, as long as no measurement shows that the kernel is better at it
    Auto,
    /// Sitar itself
    User,
    /// The kernel, for TLS 1.3 connections; does not start where it cannot
    Kernel,
    /// Nobody: plain HTTP
    Off,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MinTls {
    /// TLS 1.2, with the cipher suites that are not known to be weak
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3
    #[value(name = "1.3")]
    Tls13,
}

/// Which I/O engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// io_uring; epoll where that is forbidden, missing or too old
    Auto,
    /// io_uring with batched submission
    Uring,
    /// io_uring with a polling kernel thread for each shard: no system calls while there is work,
    /// for a core each
    Sqpoll,
    /// epoll, which works everywhere
    Epoll,
}
