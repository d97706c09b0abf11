//! Hosts: from the name in a request to its site.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use sitar_http::Status;
use sitar_site::{Page, Site, redirect_fields};

use super::host::{Host, HostContent, HostRedirect};
use crate::log::LogId;

/// Most hosts of a snapshot.
const HOSTS_MAX: usize = 4096;
/// Longest name of a host, in bytes (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// The place of a host in its snapshot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostId(u16);

/// All sites of a snapshot.
#[derive(Clone)]
pub struct Hosts {
    hosts: Arc<[Entry]>,
    /// Each name with its host, sorted.
    names: Arc<[(Box<[u8]>, HostId)]>,
    default: Option<HostId>,
    /// The field lines of redirects over plain HTTP.
    plain_redirect_fields: Arc<[u8]>,
}

/// A host, and what is made of it beforehand.
#[derive(Clone)]
struct Entry {
    host: Host,
    /// The field lines of its redirects over HTTPS.
    redirect_fields: Arc<[u8]>,
    /// The answer while it has no site; the operator's page comes first.
    unavailable: Option<Arc<Page>>,
}

/// A name of a snapshot's hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NameId(u32);

/// What a request's host led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) host: HostId,
    /// The name that it has exactly; `None`: it was found by a wildcard, or is the default.
    pub(crate) name: Option<NameId>,
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
    /// The canonical name is none of the host's names, or a wildcard.
    Canonical(String),
    /// An address to redirect to that is no field value (RFC 9110 §5.5).
    Value(String),
    /// There is no memory for a page.
    Memory,
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
            HostsError::Canonical(name) => {
                write!(f, "'{}' is not one of the names of its site", name.escape_debug())
            }
            HostsError::Value(value) => {
                write!(f, "'{}' cannot be sent in a header line", value.escape_debug())
            }
            HostsError::Memory => f.write_str("there is no memory left for a page"),
        }
    }
}

impl std::error::Error for HostsError {}

impl HostId {
    /// The host of a snapshot that has one.
    pub(crate) const ONLY: HostId = HostId(0);

    /// The host at a place in a table of all hosts.
    pub(crate) fn at(place: u16) -> HostId {
        HostId(place)
    }

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
        let host = Host { is_default: true, ..Host::new(Vec::new(), HostContent::Site(site)) };
        let entry = Entry { host, redirect_fields: redirect_fields(None).into(), unavailable: None };
        Hosts {
            hosts: [entry].into(),
            names: [].into(),
            default: Some(HostId::ONLY),
            plain_redirect_fields: redirect_fields(None).into(),
        }
    }

    /// The same, whose answers all belong to this log.
    #[must_use]
    pub fn logged(mut self, log: LogId) -> Hosts {
        let logged =
            |entry: &Entry| Entry { host: Host { log: Some(log), ..entry.host.clone() }, ..entry.clone() };
        self.hosts = self.hosts.iter().map(logged).collect();
        self
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
            if let Some(canonical) = &host.canonical
                && (canonical.starts_with("*.") || !host.names.contains(canonical))
            {
                return Err(HostsError::Canonical(canonical.clone()));
            }
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
        let hosts = hosts.into_iter().map(Entry::new).collect::<Result<_, _>>()?;
        let plain_redirect_fields = redirect_fields(None).into();
        Ok(Hosts { hosts, names: names.into(), default, plain_redirect_fields })
    }

    /// Returns the same hosts, of which one has other content. One that is not there changes
    /// nothing.
    ///
    /// # Errors
    /// There is no memory for a page.
    pub fn with_content(&self, id: HostId, content: HostContent) -> Result<Hosts, HostsError> {
        let mut hosts: Vec<Entry> = self.hosts.to_vec();
        if let Some(entry) = hosts.get_mut(id.index()) {
            *entry = Entry::new(Host { content, ..entry.host.clone() })?;
        }
        Ok(Hosts { hosts: hosts.into(), ..self.clone() })
    }

    /// Returns the only site, where it answers to every name and every client.
    pub(crate) fn only(&self) -> Option<(HostId, Arc<Site>)> {
        let id = self.default.filter(|_| self.names.is_empty())?;
        let host = self.get(id).filter(|host| host.client_ca.is_none())?;
        Some((id, Arc::clone(host.site()?)))
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
        Some(self.lookup(authority.map(host_of))?.host)
    }

    /// Finds the host of that name, which has no port.
    pub(crate) fn lookup(&self, name: Option<&[u8]>) -> Option<Found> {
        let default = || Some(Found { host: self.default?, name: None });
        name.and_then(|name| self.by_name(name)).or_else(default)
    }

    fn by_name(&self, host: &[u8]) -> Option<Found> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut room = [0; NAME_MAX];
        let name = room.get_mut(..host.len())?;
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let exact = |name: &[u8]| {
            let at = self.names.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
            Some((u32::try_from(at).ok()?, self.names[at].1))
        };
        if let Some((at, host)) = exact(name) {
            return Some(Found { host, name: Some(NameId(at)) });
        }
        // `a.example.com` is looked for as `*.example.com`, whose star takes the last byte of the
        // label.
        let dot = name.iter().position(|&byte| byte == b'.').filter(|&dot| dot > 0)?;
        name[dot - 1] = b'*';
        let (_, host) = exact(&name[dot - 1..])?;
        Some(Found { host, name: None })
    }

    /// Returns a name, in lower case.
    #[inline]
    pub(crate) fn name(&self, id: NameId) -> Option<&[u8]> {
        Some(&*self.names.get(id.0 as usize)?.0)
    }

    /// Returns the field lines of a host's redirects over HTTPS.
    pub(crate) fn redirect_fields(&self, id: HostId) -> &[u8] {
        self.hosts.get(id.index()).map_or(&[], |entry| &entry.redirect_fields)
    }

    /// Returns the field lines of redirects over plain HTTP.
    pub(crate) fn plain_redirect_fields(&self) -> &[u8] {
        &self.plain_redirect_fields
    }

    /// Returns the answer of a host that has no site now.
    pub(crate) fn unavailable(&self, id: HostId) -> Option<&Page> {
        self.hosts.get(id.index())?.unavailable.as_deref()
    }

    /// Returns a host; `None` for an id of another snapshot.
    #[must_use]
    pub fn get(&self, id: HostId) -> Option<&Host> {
        Some(&self.hosts.get(id.index())?.host)
    }

    /// All hosts with their places.
    pub fn iter(&self) -> impl Iterator<Item = (HostId, &Host)> {
        (0..).map(HostId).zip(self.hosts.iter().map(|entry| &entry.host))
    }

    /// Returns the hosts whose site answers for a name for which another one did in `last`, or
    /// none. A client may have seen other content of the same date there ([`Site::take_over`]).
    pub(crate) fn taking_over(&self, last: &Hosts) -> Vec<HostId> {
        let is_same = |host: &Host, before: &Option<HostId>| match (
            before.and_then(|id| last.get(id)).and_then(Host::site),
            host.site(),
        ) {
            (Some(last), Some(site)) => Arc::ptr_eq(last, site),
            (_, site) => site.is_none(),
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

impl Entry {
    fn new(host: Host) -> Result<Entry, HostsError> {
        if let HostContent::Redirect(HostRedirect { to, .. }) = &host.content
            && !is_value(to)
        {
            return Err(HostsError::Value(to.clone()));
        }
        let hsts = host.hsts.as_ref();
        let unavailable = match (&host.content, &host.pages.unavailable) {
            (HostContent::Unavailable, None) => {
                let page = Page::text(Status::SERVICE_UNAVAILABLE, UNAVAILABLE, hsts);
                Some(Arc::new(page.map_err(|_| HostsError::Memory)?))
            }
            (HostContent::Unavailable, Some(page)) => Some(Arc::clone(page)),
            (HostContent::Site(_) | HostContent::Redirect(_), _) => None,
        };
        Ok(Entry { redirect_fields: redirect_fields(hsts).into(), unavailable, host })
    }
}

/// Why it is so is the operator's business.
const UNAVAILABLE: &[u8] = b"503 Service Unavailable: this site cannot be served at the moment\n";

/// Returns an authority without its port.
#[inline]
pub(crate) fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => authority.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => authority.iter().position(|&byte| byte == b':'),
    };
    &authority[..end.unwrap_or(authority.len())]
}

/// Whether `text` can be a field's value (RFC 9110 §5.5) as it is.
fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Whether `text` is a name of letters, digits, hyphens and underscores, in lower case, or an
/// address of IPv6 in brackets, as it is written shortest (RFC 5952).
fn is_name(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    text.len() <= NAME_MAX && name.split('.').all(is_label)
}
