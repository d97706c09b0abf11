//! The `sitar` command: verbs, configuration, and everything around the shards that speaks to the
//! operator.
//!
//! | module | what it does |
//! |---|---|
//! | [`admin`] | the socket over which a running server is asked, and the verbs that ask |
//! | [`cert`] | asks a running server about the certificates that it orders |
//! | `certificate` | the operator's certificates, and what clients may object to |
//! | [`check`] | looks for what is wrong with a site |
//! | [`config`] | the configuration file, as plain values, and the mistakes in it |
//! | [`cli`] | the command line, understood into plain values |
//! | [`doctor`] | what this machine offers, what is missing, and what to type |
//! | [`output`] | standard output, and what a failure of it means |
//! | [`error`] | the error that the operator reads |
//! | [`events`] | the event log: what a running server says on standard error |
//! | [`listen`] | binds one socket per address and shard |
//! | [`log`] | the access log: its formats, and where it goes |
//! | `metrics` | the numbers of a running server, over HTTP |
//! | [`identity`] | the local certificate authority and its certificate for localhost |
//! | [`trust`] | installs that authority on request, and takes it back |
//! | [`handbook`] | the site that is served when none is named |
//! | [`engine`] | which engine runs, and why not another |
//! | [`offload`] | whether the kernel can seal TLS records |
//! | [`pack`] | makes a pack of a directory |
//! | [`prove`] | measures on this machine what is claimed of the server |
//! | [`sandbox`] | what the server can no longer do once it serves |
//! | [`watch`] | takes over what changes at the paths of sites and certificates |
//! | [`settings`] | what the operator wants, as plain values |
//! | [`start`] | the report printed at start |
//! | [`top`] | shows what a running server does, on one screen |
//! | [`serve`] | starts the shards |
//! | [`systemd`] | what the service manager hears, and the sockets that it passes |

mod acme;
pub mod admin;
mod cache;
pub mod cert;
mod certificate;
mod channel;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
mod ending;
pub mod engine;
pub mod error;
pub mod events;
pub mod handbook;
mod handover;
pub mod identity;
pub mod listen;
pub mod log;
mod metrics;
pub mod offload;
pub mod output;
pub mod pack;
mod packer;
pub mod prove;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod start;
mod supervisor;
pub mod systemd;
pub mod top;
pub mod trace;
pub mod trust;
mod unix_socket;
pub mod watch;
mod worker;
