//! What is known of a connection beside its bytes: what it was opened for, and by whom.

use std::sync::Arc;

use sitar_http::Method;
use sitar_tls::{CertificateNames, ClientCa};

use crate::log::LogTls;
use crate::numbers::RequestLabels;
use crate::peer::Peer;
use crate::snapshot::{HostId, Hosts, NameId, Role, host_of};

/// The listener, the peer, the host that the client asked for in its handshake, and the names that
/// the certificate showed it.
pub(crate) struct Origin {
    role: Role,
    /// `None`: the kernel has not said it, or cannot.
    peer: Option<Peer>,
    /// `None`: the handshake told nothing, or one site was for everyone when it ended. On the heap,
    /// since only connections to several hosts have it.
    told: Option<Box<Told>>,
    /// The host of the last request that a site has answered.
    routed: Option<Routed>,
    /// What the handshake has agreed on, for logs.
    tls: Option<LogTls>,
    /// Whether the peer may ask the host that it asked last: the lower half of the number of the
    /// snapshot, the host, and the answer.
    admitted: Option<(u32, HostId, bool)>,
    /// What the next answer is counted by.
    labels: RequestLabels,
}

/// Each connection has one.
const _: () = assert!(size_of::<Origin>() <= 72);

/// What the handshake has told.
struct Told {
    /// The server name of TLS (RFC 6066 §3), in lower case. `None`: the client named none.
    server_name: Option<Box<str>>,
    names: Option<Arc<CertificateNames>>,
    /// What has certified the client.
    client_ca: Option<ClientCa>,
}

/// The host that a request led to, where the next one leads as well if it asks for the same.
#[derive(Clone, Copy)]
struct Routed {
    /// The lower half of the number of the snapshot.
    snapshot: u32,
    host: HostId,
    asked: Asked,
}

/// What a request asked for.
#[derive(Clone, Copy)]
enum Asked {
    ServerName,
    Name(NameId),
}

impl Origin {
    /// That of a connection that has just been accepted.
    pub(crate) fn new(role: Role) -> Origin {
        let labels = RequestLabels::UNKNOWN;
        Origin { role, peer: None, told: None, routed: None, tls: None, admitted: None, labels }
    }

    /// Keeps what the handshake has told.
    pub(crate) fn learn(
        &mut self,
        server_name: Option<Box<str>>,
        names: Option<Arc<CertificateNames>>,
        client_ca: Option<ClientCa>,
    ) {
        self.told = Some(Box::new(Told { server_name, names, client_ca }));
    }

    /// Keeps what the handshake has agreed on.
    pub(crate) fn agree(&mut self, tls: LogTls) {
        self.tls = Some(tls);
    }

    /// Returns what the handshake has agreed on.
    pub(crate) fn tls(&self) -> Option<LogTls> {
        self.tls
    }

    /// Returns whether this certifies the client, if there is need of that.
    pub(crate) fn is_certified_by(&self, wanted: Option<&ClientCa>) -> bool {
        let told = self.told.as_ref();
        wanted.is_none_or(|wanted| told.and_then(|told| told.client_ca.as_ref()) == Some(wanted))
    }

    /// Notes the method of the request that is answered next, of which no site is known yet.
    #[inline]
    pub(crate) fn asks(&mut self, method: Method) {
        self.labels = RequestLabels::of(method.into());
    }

    /// Notes the host whose site answers it.
    #[inline]
    pub(crate) fn leads_to(&mut self, host: HostId) {
        self.labels = self.labels.at(host);
    }

    /// Returns what the next answer is counted by.
    #[inline]
    pub(crate) fn labels(&self) -> RequestLabels {
        self.labels
    }

    #[inline]
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Keeps who the peer is.
    pub(crate) fn set_peer(&mut self, peer: Peer) {
        self.peer = Some(peer);
    }

    /// Returns the peer. It is known before the first request wherever that matters
    /// ([`Snapshot::needs_peers`](crate::Snapshot::needs_peers)).
    #[inline]
    pub(crate) fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// Returns whether the peer may ask a host of that snapshot: by what is known, or by `decide`.
    #[inline]
    pub(crate) fn is_admitted(&mut self, snapshot: u64, host: HostId, decide: impl FnOnce() -> bool) -> bool {
        match self.admitted {
            Some((number, other, answer)) if number == snapshot as u32 && other == host => answer,
            _ => {
                let answer = decide();
                self.admitted = Some((snapshot as u32, host, answer));
                answer
            }
        }
    }

    /// Returns the host that the client asked for in its handshake.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.told.as_ref()?.server_name.as_deref()
    }

    /// Returns whether requests for `host`, which has no port, may be answered here: it is the host
    /// of the handshake, or the certificate covers it (RFC 9113 §9.1.1). A client that named no
    /// host may ask for any.
    pub(crate) fn covers(&self, host: &[u8]) -> bool {
        let Some(server_name) = self.server_name() else { return true };
        let names = self.told.as_ref().and_then(|told| told.names.as_ref());
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        host.eq_ignore_ascii_case(server_name) || names.is_some_and(|names| names.cover(bare))
    }

    /// Returns the host of the last request, if this one asks for the same, byte by byte.
    #[inline]
    pub(crate) fn routed(&self, snapshot: u64, hosts: &Hosts, authority: Option<&[u8]>) -> Option<HostId> {
        let routed = self.routed.filter(|routed| routed.snapshot == snapshot as u32)?;
        let asked = match routed.asked {
            Asked::ServerName => self.server_name()?.as_bytes(),
            Asked::Name(name) => hosts.name(name)?,
        };
        let rest = authority?.strip_prefix(asked)?;
        // What stands behind the whole name is a port.
        matches!(rest.first(), None | Some(b':')).then_some(routed.host)
    }

    /// Keeps the host that a request led to, if that can be found again by what it asked for.
    pub(crate) fn keep(
        &mut self,
        snapshot: u64,
        hosts: &Hosts,
        (host, name): (HostId, Option<NameId>),
        authority: &[u8],
    ) {
        let asked = host_of(authority);
        let asked = match (self.server_name(), name) {
            (Some(server_name), _) if server_name.as_bytes() == asked => Asked::ServerName,
            (_, Some(name)) if hosts.name(name) == Some(asked) => Asked::Name(name),
            _ => return,
        };
        self.routed = Some(Routed { snapshot: snapshot as u32, host, asked });
    }
}
