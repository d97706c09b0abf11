//! `sitar trace`: samples of the answers of a running server, for a time.
//!
//! A request is the line `trace` and a JSON object on the [admin socket](crate::admin). The
//! supervisor checks it and hands the connection itself to its worker, whose thread for logs
//! writes to it from then on: a line about the trace, a line for each record as the access log has
//! it as JSON, and a line about the end. What a server takes of its answers is bounded by
//! [`Spec`], by its own bounds, and by what the client reads.

mod client;
mod text;

use std::time::Duration;

use serde_json::{Map, Value, json};
use sitar_server::{TraceFilter, TracePath};

pub use client::run;

/// The version of the lines' shape.
pub(crate) const SCHEMA: u64 = 1;
/// The duration of a trace, if nothing else is asked for.
pub const DURATION: Duration = Duration::from_secs(10);
/// The longest duration of a trace.
const DURATION_MAX: Duration = Duration::from_secs(60 * 60);
/// Bytes of a host that is asked for: a name of the DNS (RFC 1035 §2.3.4), or an address.
const HOST_MAX: usize = 253;
/// Bytes of a path that is asked for.
const PATH_MAX: usize = 1024;

/// What a trace is about, and when it ends at the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    host: Option<String>,
    path: Option<String>,
    status: Option<String>,
    sample: u32,
    duration: Duration,
    count: Option<u32>,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec { host: None, path: None, status: None, sample: 1, duration: DURATION, count: None }
    }
}

impl Spec {
    /// Reads the JSON of a request.
    ///
    /// # Errors
    /// It is none, or asks for what there is not: a sentence.
    pub(crate) fn read(json: &[u8]) -> Result<Spec, String> {
        let value = serde_json::from_slice(json).map_err(|_| "what to trace is no JSON")?;
        Spec::from_json(&value)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// It asks for what there is not: a sentence. What is not known is refused, since an answer
    /// that leaves it out would mislead.
    pub(crate) fn from_json(value: &Value) -> Result<Spec, String> {
        let mut spec = Spec::default();
        for (name, value) in value.as_object().ok_or("what to trace is no JSON object")? {
            let text = || value.as_str().ok_or_else(|| format!("'{name}' of a trace is no text"));
            let number = || {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                number.ok_or_else(|| format!("'{name}' of a trace is no number of 32 bits"))
            };
            match &**name {
                "host" => spec.host = Some(host(text()?)?),
                "path" => spec.path = Some(path(text()?)?),
                "status" => {
                    status(text()?)?;
                    spec.status = Some(text()?.to_owned());
                }
                "sample" => spec.sample = positive(number()?, name)?,
                "count" => spec.count = Some(positive(number()?, name)?),
                "milliseconds" => spec.duration = bounded(Duration::from_millis(number()?.into()))?,
                _ => return Err(format!("this version knows no '{name}' of a trace")),
            }
        }
        Ok(spec)
    }

    /// Returns it as JSON.
    pub(crate) fn to_json(&self) -> Value {
        let mut all = self.filter_json();
        all.insert("milliseconds".to_owned(), self.milliseconds().into());
        if let Some(count) = self.count {
            all.insert("count".to_owned(), count.into());
        }
        all.into()
    }

    fn filter_json(&self) -> Map<String, Value> {
        let mut all = Map::new();
        for (name, text) in [("host", &self.host), ("path", &self.path), ("status", &self.status)] {
            all.extend(text.as_deref().map(|text| (name.to_owned(), text.into())));
        }
        all.insert("sample".to_owned(), self.sample.into());
        all
    }

    /// Returns what shards look for.
    pub(crate) fn filter(&self) -> TraceFilter {
        let path = self.path.as_deref().map(|path| match path.strip_suffix('*') {
            Some(prefix) => TracePath::Prefix(prefix.as_bytes().into()),
            None => TracePath::Exact(path.as_bytes().into()),
        });
        let all = TraceFilter::default();
        TraceFilter {
            host: self.host.as_deref().map(|host| host.as_bytes().into()),
            path,
            status: self.status.as_deref().and_then(|text| status(text).ok()).unwrap_or(all.status),
            every: self.sample,
        }
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns how many records end it.
    pub(crate) fn count(&self) -> u64 {
        self.count.map_or(u64::MAX, u64::from)
    }

    /// Returns the first line of a trace. `shards` take [`TRACE_GRANT`](sitar_server::TRACE_GRANT)
    /// records a second each, at most.
    pub(crate) fn first_line(&self, shards: usize) -> Value {
        let limits = json!({
            "milliseconds": self.milliseconds(),
            "count": self.count,
            "records_per_second_and_shard": sitar_server::TRACE_GRANT,
            "shards": shards,
            "waiting_bytes": crate::log::WAITING_MAX,
        });
        let version = env!("CARGO_PKG_VERSION");
        json!({ "schema": SCHEMA, "version": version, "trace": self.filter_json(), "limits": limits })
    }

    /// Returns what is asked for on a command line.
    fn asked(arguments: &crate::cli::Trace) -> Spec {
        Spec {
            host: arguments.host.clone(),
            path: arguments.path.clone(),
            status: arguments.status.clone(),
            sample: arguments.sample,
            duration: arguments.duration,
            count: arguments.count,
        }
    }
}

/// Reads a host: a name or an address, without a port.
///
/// # Errors
/// It is none: a sentence.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_text = bare.bytes().all(|byte| byte.is_ascii_graphic() && !b"/@,".contains(&byte));
    let has_port = !bare.starts_with('[') && bare.contains(':') || bare.rsplit_once("]:").is_some();
    match bare {
        "" => Err("a host without a name".to_owned()),
        _ if bare.len() > HOST_MAX => Err(format!("a host of more than {HOST_MAX} bytes")),
        _ if !is_text => Err("a host is a name as clients send it, such as www.example.org".to_owned()),
        _ if has_port => Err("a host is given without a port, and an address of IPv6 in brackets".to_owned()),
        _ => Ok(bare.to_ascii_lowercase()),
    }
}

/// Reads a path, or the beginning of one with `*` behind it.
///
/// # Errors
/// It is none: a sentence.
pub(crate) fn path(text: &str) -> Result<String, String> {
    match text {
        _ if text.len() > PATH_MAX => Err(format!("a path of more than {PATH_MAX} bytes")),
        _ if !text.starts_with('/') && text != "*" => Err("a path begins with /".to_owned()),
        _ if text.contains('?') => {
            Err("a path is given without its query: what is behind a ? is not looked at".to_owned())
        }
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("a path is compared as clients send it: other characters as %C3%A4".to_owned())
        }
        _ if text.strip_suffix('*').unwrap_or(text).contains('*') => {
            Err("a path has * at its end only".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Reads a status or a class of them. Returns the first one and the last one.
///
/// # Errors
/// It is none: a sentence.
pub(crate) fn status(text: &str) -> Result<(u16, u16), String> {
    let read = match text.as_bytes() {
        [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
            let first = u16::from(class - b'0') * 100;
            Some((first, first + 99))
        }
        [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(|code| (code, code)),
        _ => None,
    };
    read.ok_or_else(|| "a status is a number such as 404, or a class such as 5xx".to_owned())
}

/// Reads a duration, such as `10s`, `500ms`, `5m` or `1h`; without a unit in seconds.
///
/// # Errors
/// It is none, or none that a trace may have: a sentence.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let unit = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bounded(Duration::from_millis(milliseconds.unwrap_or(0)))
}

fn bounded(duration: Duration) -> Result<Duration, String> {
    match duration {
        Duration::ZERO => Err("a duration is a whole number with ms, s, m or h, and more than 0".to_owned()),
        _ if duration > DURATION_MAX => Err("a trace lasts for an hour at most".to_owned()),
        _ => Ok(duration),
    }
}

fn positive(number: u32, name: &str) -> Result<u32, String> {
    if number == 0 { Err(format!("'{name}' of a trace is at least 1")) } else { Ok(number) }
}

#[cfg(test)]
mod tests;
