//! Settings that take one word of a few, and how words and numbers are read.

use std::num::{NonZeroU16, NonZeroU32};

use super::SHARDS_MAX;
use crate::config::Target;

/// The longest time that a setting in seconds takes: a day.
const SECONDS_MAX: u32 = 86_400;

/// A type whose values are words.
pub(crate) trait Word: Copy + 'static {
    /// Each word, its value, and what it means.
    const WORDS: &'static [(&'static str, Self, &'static str)];
}

/// Whether TLS is spoken, and which side seals its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// The side that measurements favour, which is sitar.
    #[default]
    Auto,
    /// Sitar.
    User,
    /// The kernel, for TLS 1.3.
    Kernel,
    /// Plain HTTP.
    Off,
}

impl Word for Tls {
    const WORDS: &'static [(&'static str, Tls, &'static str)] = &[
        ("auto", Tls::Auto, "Sitar itself, as long as no measurement shows that the kernel is better at it"),
        ("user", Tls::User, "Sitar itself"),
        ("kernel", Tls::Kernel, "The kernel, for TLS 1.3 connections; does not start where it cannot"),
        ("off", Tls::Off, "No TLS: plain HTTP"),
    ];
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinTls {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Word for MinTls {
    const WORDS: &'static [(&'static str, MinTls, &'static str)] = &[
        ("1.2", MinTls::Tls12, "TLS 1.2, with the cipher suites that are not known to be weak"),
        ("1.3", MinTls::Tls13, "TLS 1.3"),
    ];
}

/// The I/O engine that the operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// io_uring, or epoll where io_uring is not to be had.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// io_uring with polling threads.
    Sqpoll,
    /// epoll.
    Epoll,
}

impl Word for EngineChoice {
    const WORDS: &'static [(&'static str, EngineChoice, &'static str)] = &[
        ("auto", EngineChoice::Auto, "io_uring; epoll where that is forbidden, missing or too old"),
        ("uring", EngineChoice::Uring, "io_uring with batched submission"),
        (
            "sqpoll",
            EngineChoice::Sqpoll,
            "io_uring with a polling kernel thread for each shard: no system calls while there is work, for \
             a core each",
        ),
        ("epoll", EngineChoice::Epoll, "epoll, which works everywhere"),
    ];
}

/// Returns the words of a type with their meanings.
pub(crate) fn words<T: Word>() -> Vec<(&'static str, &'static str)> {
    T::WORDS.iter().map(|(word, _, meaning)| (*word, *meaning)).collect()
}

/// Reads a word.
pub(crate) fn word<T: Word>(text: &str) -> Result<T, String> {
    let found = T::WORDS.iter().find(|(word, ..)| *word == text);
    found.map(|(_, value, _)| *value).ok_or_else(|| {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, ..)| *word).collect();
        format!("expected one of {}", words.join(", "))
    })
}

/// Returns the word for a value.
pub(crate) fn word_of<T: Word + PartialEq>(value: T) -> Option<&'static str> {
    T::WORDS.iter().find(|(_, other, _)| *other == value).map(|(word, ..)| *word)
}

/// Reads the value of a switch. A variable that holds one of a few words, or nothing, leaves it
/// off.
pub(super) fn switch(text: &str) -> bool {
    !["", "n", "no", "f", "false", "off", "0"].contains(&text.to_lowercase().as_str())
}

/// Reads where an access log goes. A path is relative to the current folder.
pub(super) fn log_target(text: &str) -> Result<Target, String> {
    Ok(match text {
        "off" => Target::Off,
        "stdout" => Target::Stdout,
        "journal" => Target::Journal,
        path if path.contains('/') && !path.ends_with('/') => {
            Target::File(std::path::absolute(path).map_err(|error| error.to_string())?)
        }
        _ => return Err("expected a path with a slash, or one of stdout, journal, off".to_owned()),
    })
}

/// Reads a port: decimal digits only (`u16::from_str` would also take a plus sign).
pub(crate) fn port(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Reads a size in MiB: `512`, `512 MiB` or `1 GiB`, with or without the space.
pub(crate) fn mib(text: &str) -> Result<u32, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.strip_prefix(' ').unwrap_or(unit) {
        "" if unit.is_empty() => Some(1),
        "MiB" => Some(1),
        "GiB" => Some(1024),
        _ => None,
    };
    let mib = factor.and_then(|factor: u32| number.parse::<u32>().ok()?.checked_mul(factor));
    mib.ok_or_else(|| "expected a size: 512 MiB, 1 GiB, or a number of MiB".to_owned())
}

pub(crate) fn connections(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("expected a whole number from 1 to {}", u32::MAX))
}

pub(crate) fn shards(text: &str) -> Result<NonZeroU16, String> {
    match text.parse::<NonZeroU16>() {
        Ok(shards) if shards.get() <= SHARDS_MAX => Ok(shards),
        _ => Err(format!("expected a number from 1 to {SHARDS_MAX}")),
    }
}

pub(super) fn seconds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds @ 1..=SECONDS_MAX) => Ok(seconds),
        _ => Err(format!("expected a number of seconds from 1 to {SECONDS_MAX}")),
    }
}

/// Parses a number of [`seconds`], or zero.
pub(super) fn seconds_or_none(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds @ 0..=SECONDS_MAX) => Ok(seconds),
        _ => Err(format!("expected a number of seconds from 0 to {SECONDS_MAX}")),
    }
}
