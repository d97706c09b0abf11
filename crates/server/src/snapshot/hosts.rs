//! Hosts: from the name in a request to its site.

use std::fmt;
use std::sync::Arc;

use sitar_site::Site;

/// Most hosts of a snapshot.
const HOSTS_MAX: usize = 4096;
/// Longest name of a host, in bytes (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// A site and the names that it answers to.
#[derive(Clone)]
pub struct Host {
    /// Names in lower case, without a port. `*.example.com` stands for each name with one label
    /// more.
    pub names: Vec<String>,
    /// It also answers to names that no host has, and to requests that name none.
    pub is_default: bool,
    /// The site that is served.
    pub site: Arc<Site>,
}

/// The place of a host in its snapshot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(u16);

/// All sites of a snapshot. Where there is one without names, finding it costs nothing.
#[derive(Clone)]
pub struct Hosts {
    hosts: Arc<[Host]>,
    /// Each name with its host, sorted.
    names: Arc<[(Box<[u8]>, HostId)]>,
    default: Option<HostId>,
}

/// The reason why hosts cannot be served together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostsError {
    /// There is none, or more than [`Hosts::MAX`].
    Number(usize),
    /// Not a host name in lower case.
    Name(String),
    /// Two hosts have this name.
    Twice(String),
    /// Two hosts are the default.
    TwoDefaults,
}

impl fmt::Display for HostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostsError::Number(number) => {
                write!(f, "{number} hosts: between 1 and {HOSTS_MAX} can be served")
            }
            HostsError::Name(name) => write!(
                f,
                "'{}' is not a host name in lower case, without a port, or *. before one",
                name.escape_debug()
            ),
            HostsError::Twice(name) => write!(f, "two sites are named '{name}'"),
            HostsError::TwoDefaults => f.write_str("two sites are the default"),
        }
    }
}

impl std::error::Error for HostsError {}

impl HostId {
    /// The place in a table of all hosts.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Hosts {
    /// Most hosts of a snapshot.
    pub const MAX: usize = HOSTS_MAX;

    /// One site, whatever host a client names.
    #[must_use]
    pub fn one(site: Arc<Site>) -> Hosts {
        let host = Host { names: Vec::new(), is_default: true, site };
        Hosts { hosts: [host].into(), names: [].into(), default: Some(HostId(0)) }
    }

    /// Several sites by name.
    ///
    /// # Errors
    /// The names contradict each other, or one is not valid.
    pub fn new(hosts: Vec<Host>) -> Result<Hosts, HostsError> {
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(HostsError::Number(hosts.len()));
        }
        let mut names: Vec<(Box<[u8]>, HostId)> = Vec::new();
        let mut default = None;
        for (place, host) in (0..).zip(&hosts) {
            for name in &host.names {
                if !is_name(name) {
                    return Err(HostsError::Name(name.clone()));
                }
                names.push((name.as_bytes().into(), HostId(place)));
            }
            if host.is_default && default.replace(HostId(place)).is_some() {
                return Err(HostsError::TwoDefaults);
            }
        }
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(HostsError::Twice(String::from_utf8_lossy(&pair[0].0).into_owned()));
        }
        Ok(Hosts { hosts: hosts.into(), names: names.into(), default })
    }

    /// Returns the host that a request is for: by its exact name, else by a wildcard, else the
    /// default. `authority` is `host[:port]` as the client sent it (RFC 9110 §7.2). Allocates
    /// nothing.
    #[inline]
    #[must_use]
    pub fn find(&self, authority: Option<&[u8]>) -> Option<HostId> {
        if self.names.is_empty() {
            return self.default;
        }
        authority.and_then(|authority| self.by_name(authority)).or(self.default)
    }

    fn by_name(&self, authority: &[u8]) -> Option<HostId> {
        // An address of IPv6 in brackets is no name.
        let host = authority.split(|&byte| byte == b':').next()?;
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut room = [0; NAME_MAX];
        let name = room.get_mut(..host.len())?;
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let exact = |name: &[u8]| {
            let at = self.names.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
            Some(self.names[at].1)
        };
        if let Some(host) = exact(name) {
            return Some(host);
        }
        // `a.example.com` is looked for as `*.example.com`, whose star takes the last byte of the
        // label.
        let dot = name.iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
        name[dot - 1] = b'*';
        exact(&name[dot - 1..])
    }

    /// Returns a host; `None` for an id of another snapshot.
    #[must_use]
    pub fn get(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(id.index())
    }

    /// All hosts with their places.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &Host)> {
        (0..).map(HostId).zip(self.hosts.iter())
    }

    /// Returns the host of an older snapshot that `host` takes the place of: that with the same
    /// first name, or the only one where there are no names.
    pub(crate) fn predecessor(&self, host: &Host) -> Option<HostId> {
        self.iter().find(|(_, older)| older.names.first() == host.names.first()).map(|(id, _)| id)
    }
}

/// Whether `text` is a name of letters, digits, hyphens and underscores, in lower case.
fn is_name(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    text.len() <= NAME_MAX && name.split('.').all(is_label)
}
