//! HTTP Strict Transport Security (RFC 6797): the policy that every answer of a site may carry.

use std::fmt;

/// A value of Strict-Transport-Security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts(Box<str>);

/// A reason why a text is no value of Strict-Transport-Security.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HstsError {
    /// It has more than [`Hsts::LEN_MAX`] bytes.
    TooLong,
    /// The directive `max-age` is missing.
    NoMaxAge,
    /// The value of `max-age` is no number of seconds.
    MaxAge(Box<str>),
    /// A directive that means nothing in this field.
    Unknown(Box<str>),
    /// A directive that takes no value has one.
    Value(Box<str>),
    /// A directive stands twice.
    Twice(Box<str>),
}

impl Hsts {
    /// Bytes of a value, at most.
    pub const LEN_MAX: usize = 96;

    /// Reads a value (RFC 6797 §6.1): `max-age=SECONDS`, and perhaps `includeSubDomains` and
    /// `preload`, with semicolons between them.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(value: &str) -> Result<Hsts, HstsError> {
        if value.len() > Hsts::LEN_MAX {
            return Err(HstsError::TooLong);
        }
        let mut seen = [false; 3];
        for directive in value.split(';').map(trim).filter(|directive| !directive.is_empty()) {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (trim(name), Some(trim(argument))),
                None => (directive, None),
            };
            let Some(which) = DIRECTIVES.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
                return Err(HstsError::Unknown(name.into()));
            };
            if std::mem::replace(&mut seen[which], true) {
                return Err(HstsError::Twice(DIRECTIVES[which].into()));
            }
            match argument {
                _ if which == MAX_AGE => {
                    let argument = argument.unwrap_or_default();
                    if argument.is_empty() || !argument.bytes().all(|byte| byte.is_ascii_digit()) {
                        return Err(HstsError::MaxAge(argument.into()));
                    }
                }
                Some(_) => return Err(HstsError::Value(DIRECTIVES[which].into())),
                None => {}
            }
        }
        if seen[MAX_AGE] { Ok(Hsts(trim(value).into())) } else { Err(HstsError::NoMaxAge) }
    }

    /// Returns the value as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the header line, its end included.
    pub(crate) fn line(&self) -> Box<[u8]> {
        [NAME, self.0.as_bytes(), b"\r\n"].concat().into()
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HstsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HstsError::TooLong => write!(f, "it is longer than {} bytes", Hsts::LEN_MAX),
            HstsError::NoMaxAge => f.write_str("it needs max-age=SECONDS"),
            HstsError::MaxAge(value) => write!(f, "max-age is '{value}', and not a number of seconds"),
            HstsError::Unknown(name) => {
                write!(f, "'{name}' is none of max-age, includeSubDomains and preload")
            }
            HstsError::Value(name) => write!(f, "{name} takes no value"),
            HstsError::Twice(name) => write!(f, "{name} stands in it twice"),
        }
    }
}

impl std::error::Error for HstsError {}

/// The optional white space of HTTP (RFC 9110 §5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const DIRECTIVES: [&str; 3] = ["max-age", "includeSubDomains", "preload"];
/// The place of `max-age` among them.
const MAX_AGE: usize = 0;
const NAME: &[u8] = b"Strict-Transport-Security: ";
/// Bytes of the header line, at most.
pub(crate) const HSTS_LINE_MAX: usize = NAME.len() + Hsts::LEN_MAX + b"\r\n".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_sent_as_they_are() {
        for value in [
            "max-age=31536000",
            "max-age=0",
            "max-age=63072000; includeSubDomains; preload",
            "includesubdomains ;MAX-AGE = 1;",
            "; max-age=1",
        ] {
            let hsts = Hsts::parse(value).unwrap();
            assert_eq!(hsts.as_str(), value);
            assert_eq!(
                hsts.line().escape_ascii().to_string(),
                format!("Strict-Transport-Security: {value}\\r\\n")
            );
        }
        assert_eq!(Hsts::parse(" max-age=1\t").unwrap().as_str(), "max-age=1");
    }

    #[test]
    fn values_that_are_refused() {
        let long = format!("max-age=1;{}", " ".repeat(Hsts::LEN_MAX));
        for (value, why) in [
            ("", "it needs max-age=SECONDS"),
            ("includeSubDomains", "it needs max-age=SECONDS"),
            ("max-age", "max-age is '', and not a number of seconds"),
            ("max-age=", "max-age is '', and not a number of seconds"),
            ("max-age=1y", "max-age is '1y', and not a number of seconds"),
            ("max-age=-1", "max-age is '-1', and not a number of seconds"),
            ("max-age=\"1\"", "max-age is '\"1\"', and not a number of seconds"),
            ("31536000", "'31536000' is none of max-age, includeSubDomains and preload"),
            ("max-age=1, preload", "max-age is '1, preload', and not a number of seconds"),
            (
                "max-age=1; includeSubdomain",
                "'includeSubdomain' is none of max-age, includeSubDomains and preload",
            ),
            ("max-age=1; preload=1", "preload takes no value"),
            ("max-age=1; Max-Age=1", "max-age stands in it twice"),
            ("max-age=1\r\nSet-Cookie: a", "max-age is '1\r\nSet-Cookie: a', and not a number of seconds"),
            ("max-age=1;\r\n", "'\r\n' is none of max-age, includeSubDomains and preload"),
            (&long, "it is longer than 96 bytes"),
        ] {
            assert_eq!(Hsts::parse(value).unwrap_err().to_string(), why, "{value:?}");
        }
    }
}
