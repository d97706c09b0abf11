//! Hosts: from the name in a request to its site.

use std::collections::BTreeSet;
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

/// All sites of a snapshot.
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

    /// Returns the only site, where it answers to every name.
    pub(crate) fn only(&self) -> Option<(HostId, Arc<Site>)> {
        let id = self.default.filter(|_| self.names.is_empty())?;
        Some((id, Arc::clone(&self.get(id)?.site)))
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

    /// Returns the hosts whose site answers for a name for which another one did in `last`, or
    /// none. A client may have seen other content of the same date there ([`Site::take_over`]).
    pub(crate) fn taking_over(&self, last: &Hosts) -> Vec<HostId> {
        let is_same = |host: &Host, before: &Option<HostId>| {
            before.and_then(|id| last.get(id)).is_some_and(|last| Arc::ptr_eq(&last.site, &host.site))
        };
        let all = self.iter().zip(self.before(last));
        let others = all.filter(|((_, host), before)| !before.iter().all(|before| is_same(host, before)));
        others.map(|((id, _), _)| id).collect()
    }

    /// Returns each host for whose names a single host of `last` answered, with that one. What is
    /// known of the content of those names goes on being true.
    pub(crate) fn successors(&self, last: &Hosts) -> Vec<(HostId, HostId)> {
        let all = self.iter().zip(self.before(last));
        let only = |before: BTreeSet<Option<HostId>>| match before.len() {
            1 => before.into_iter().next().flatten(),
            _ => None,
        };
        all.filter_map(|((id, _), before)| Some((id, only(before)?))).collect()
    }

    /// Returns, for each host, which hosts of `last` answered for the names that it answers for
    /// now; `None`: for one of them none did.
    fn before(&self, last: &Hosts) -> Vec<BTreeSet<Option<HostId>>> {
        let mut before = vec![BTreeSet::new(); self.hosts.len()];
        // A name that no host has any more is a wildcard's or the default's.
        let names = self.names.iter().chain(last.names.iter()).map(|(name, _)| Some(&**name));
        for authority in names.chain([None]) {
            if let Some(before) = self.find(authority).and_then(|id| before.get_mut(id.index())) {
                before.insert(last.find(authority));
            }
        }
        before
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
