//! Who may ask for what a host serves: by network, and by name and password.
//!
//! | module | |
//! |---|---|
//! | [`networks`] | lists of networks |
//! | [`htpasswd`], [`base64`], [`credentials`] | users, and what clients send |
//! | [`throttle`] | how often a client may do something |
//! | [`verify`] | the thread that computes hashes of passwords |
//! | [`gate`] | one shard's part: decides about a request |

mod base64;
mod credentials;
pub(crate) mod gate;
mod htpasswd;
mod networks;
mod throttle;
pub(crate) mod verify;

use std::fmt;
use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sitar_http::Status;
use sitar_site::{Hsts, Page};

pub(crate) use self::credentials::Fingerprint;
pub use self::htpasswd::{Users, UsersError};
pub use self::networks::{Network, NetworkError, Networks};
pub use self::throttle::Rate;
pub(crate) use self::throttle::Throttle;

/// The conditions under which requests for a host are answered.
#[derive(Debug, Default)]
pub struct Access {
    /// Peers that are refused, also where `allow` has them.
    pub deny: Networks,
    /// The only peers that are answered; `None`: all.
    pub allow: Option<Networks>,
    /// The users of which a request has to have one's name and password; `None`: it needs none.
    pub realm: Option<Realm>,
    /// How often one client may ask; `None`: as often as it likes.
    pub limit: Option<Limit>,
    /// Peers whose fields Forwarded and X-Forwarded-For name the client that limits count: that of
    /// requests, and that of wrong passwords. `deny` and `allow` are about the peer itself.
    pub trusted_proxies: Arc<Networks>,
}

/// How often one client may ask, and the answer to one that asks more often.
#[derive(Debug)]
pub struct Limit {
    rate: Rate,
    page: Page,
}

/// Users, and the answers to requests without the credentials of one.
pub struct Realm {
    users: Arc<Users>,
    /// SHA-256 of the file: what is known of other users does not count.
    version: [u8; 32],
    /// 401, 429 and 503.
    pages: RealmPages,
}

struct RealmPages {
    unauthorized: Page,
    too_many: Page,
    busy: Page,
}

/// The reason why there is no realm.
#[derive(Debug)]
pub enum RealmError {
    /// The name cannot stand in a header line.
    Name,
    /// The file is refused.
    Users(UsersError),
    /// There is no memory for a page.
    Memory(io::Error),
}

impl fmt::Display for RealmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RealmError::Name => {
                f.write_str("a realm has letters, digits, spaces and signs of ASCII, at most 200")
            }
            RealmError::Users(error) => error.fmt(f),
            RealmError::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RealmError {}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Realm").finish_non_exhaustive()
    }
}

impl Limit {
    /// Makes a limit; `hsts` is that of the host.
    ///
    /// # Errors
    /// There is no memory for a page.
    pub fn new(rate: Rate, hsts: Option<&Hsts>) -> io::Result<Limit> {
        let page = Page::text_with(Status::TOO_MANY_REQUESTS, TOO_OFTEN, b"", hsts)?;
        Ok(Limit { rate, page })
    }
}

impl Realm {
    /// Bytes of the name, at most.
    const NAME_MAX: usize = 200;

    /// Returns whether `name` can be that of a realm.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_text = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        !name.is_empty() && name.len() <= Realm::NAME_MAX && name.bytes().all(is_text)
    }

    /// Makes a realm of a file of users ([`Users::parse`]). `name` is what browsers show; `hsts` is
    /// that of the host.
    ///
    /// # Errors
    /// The name or the file is refused.
    pub fn new(name: &str, file: &[u8], hsts: Option<&Hsts>) -> Result<Realm, RealmError> {
        if !Realm::is_name(name) {
            return Err(RealmError::Name);
        }
        let users = Arc::new(Users::parse(file).map_err(RealmError::Users)?);
        // RFC 9110 §5.6.4: a quoted string.
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = format!("WWW-Authenticate: Basic realm=\"{name}\", charset=\"UTF-8\"\r\n");
        let page = |status, text: &[u8], lines: &str| {
            Page::text_with(status, text, lines.as_bytes(), hsts).map_err(RealmError::Memory)
        };
        let pages = RealmPages {
            unauthorized: page(Status::UNAUTHORIZED, UNAUTHORIZED, &challenge)?,
            too_many: page(Status::TOO_MANY_REQUESTS, TOO_MANY, "")?,
            busy: page(Status::SERVICE_UNAVAILABLE, BUSY, "Retry-After: 1\r\n")?,
        };
        Ok(Realm { users, version: Sha256::digest(file).into(), pages })
    }
}

const UNAUTHORIZED: &[u8] = b"401 Unauthorized: a name and a password are needed\n";
const TOO_OFTEN: &[u8] = b"429 Too Many Requests: too many requests came from this address\n";
const TOO_MANY: &[u8] = b"429 Too Many Requests: too many wrong passwords came from this address\n";
const BUSY: &[u8] = b"503 Service Unavailable: too many passwords are being checked\n";
