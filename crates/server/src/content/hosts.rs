//! The host that a request is for, and the answers that come before its site's: redirects, a page
//! while there is no site, refusals.

use sitar_http::{Rejection, Request, Status};
use sitar_site::{Page, Reply, Scratch};

use super::origin::Origin;
use crate::snapshot::{Host, HostContent, HostId, HostRedirect, Role, Snapshot, host_of};

/// What a request's host leads to.
pub(super) enum Routed<'s> {
    /// The site of this host.
    Site(HostId),
    Redirect(Redirect<'s>),
    Page(&'s Page),
    Refused(&'static Rejection),
}

/// A redirect of a host, whose address depends on the request.
pub(super) struct Redirect<'s> {
    to: To<'s>,
    /// The lines beside Location.
    fields: &'s [u8],
}

enum To<'s> {
    /// The same on HTTPS, of this host.
    Https { host: Name<'s>, port: u16 },
    /// The same on the canonical host.
    Canonical { host: &'s str, is_https: bool },
    /// Another address.
    Other(&'s HostRedirect),
}

/// The name of a host.
enum Name<'s> {
    /// The one that the request asked for.
    Asked,
    Known(&'s str),
}

/// Finds the host of a request, and decides whether it may be answered on this connection.
#[cold]
pub(super) fn route<'s>(snapshot: &'s Snapshot, origin: &mut Origin, request: &Request<'_>) -> Routed<'s> {
    let hosts = &snapshot.hosts;
    let role = origin.role();
    let asked = request.authority.map(host_of);
    if role == Role::Https && asked.is_some_and(|asked| !origin.covers(asked)) {
        return Routed::Refused(&MISDIRECTED);
    }
    // Who names no host (HTTP/1.0) has named one in the handshake.
    let name = asked.or_else(|| origin.server_name().map(str::as_bytes));
    let Some(found) = hosts.lookup(name) else { return Routed::Refused(&NO_SUCH_HOST) };
    let id = found.host;
    let Some(host) = hosts.get(id) else { return Routed::Refused(&NO_SUCH_HOST) };
    origin.leads_to(id);
    // Redirects to HTTPS, and challenges beside them, are for everyone.
    if !redirects(role) && !origin.is_certified_by(host.client_ca.as_ref()) {
        return Routed::Refused(&UNCERTIFIED);
    }
    let redirect = |to| {
        // RFC 6797 §7.2: HSTS does not leave over plain HTTP.
        let fields = if redirects(role) { hosts.plain_redirect_fields() } else { hosts.redirect_fields(id) };
        Routed::Redirect(Redirect { to, fields })
    };
    // On plain HTTP those who check the names of a certificate to be are answered as they are.
    if role == Role::Https || !is_challenge(request) {
        if let Role::RedirectToHttps { port } = role {
            return match https_name(host, asked) {
                Some(name) => redirect(To::Https { host: name, port }),
                None => Routed::Refused(&NO_HOST),
            };
        }
        if let Some(canonical) = &host.canonical
            && asked.is_some_and(|asked| !is_same(asked, canonical))
        {
            return redirect(To::Canonical { host: canonical, is_https: role == Role::Https });
        }
    }
    match &host.content {
        HostContent::Site(_) => {
            // Not what was answered only because it was a challenge: the next request may be none.
            if let Some(authority) = request.authority.filter(|_| !is_plain_challenge(role, request)) {
                origin.keep(snapshot.number, hosts, (id, found.name), authority);
            }
            Routed::Site(id)
        }
        HostContent::Redirect(other) => redirect(To::Other(other)),
        HostContent::Unavailable => {
            hosts.unavailable(id).map_or(Routed::Refused(&NO_SUCH_HOST), Routed::Page)
        }
    }
}

/// Whether a request over plain HTTP is for the file of an ACME challenge, which the authority has
/// to get.
pub(super) fn is_plain_challenge(role: Role, request: &Request<'_>) -> bool {
    role != Role::Https && is_challenge(request)
}

/// Whether nothing is served on this listener but redirects.
#[inline]
pub(super) fn redirects(role: Role) -> bool {
    matches!(role, Role::RedirectToHttps { .. })
}

/// Returns the name under which a host is found on HTTPS: the one that was asked for, else one of
/// its own.
fn https_name<'s>(host: &'s Host, asked: Option<&[u8]>) -> Option<Name<'s>> {
    let exact = || host.names.iter().find(|name| !name.starts_with("*."));
    match asked {
        Some(_) => Some(Name::Asked),
        None => host.canonical.as_ref().or_else(exact).map(|name| Name::Known(name)),
    }
}

/// Whether a host that was asked for is this one. A name may end with a period.
fn is_same(asked: &[u8], name: &str) -> bool {
    asked.strip_suffix(b".").unwrap_or(asked).eq_ignore_ascii_case(name.as_bytes())
}

/// Whether a request is for the file of an ACME challenge (RFC 8555 §8.3). What leads out of their
/// folder is not, nor what another reader might take for such a path.
fn is_challenge(request: &Request<'_>) -> bool {
    let name = request.target.path.strip_prefix(b"/.well-known/acme-challenge/");
    name.is_some_and(|name| {
        let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !matches!(name, b"" | b"." | b"..") && name.iter().all(is_plain)
    })
}

impl<'s> Redirect<'s> {
    pub(super) fn reply<'r>(&self, request: &Request<'_>, scratch: &'r mut Scratch) -> Reply<'r>
    where
        's: 'r,
    {
        let authority = request.authority.unwrap_or_default();
        let asked = host_of(authority);
        let mut room = [0; 8];
        let (status, start): (_, [&[u8]; 3]) = match &self.to {
            To::Https { host, port } => {
                let host = match host {
                    Name::Asked => asked,
                    Name::Known(name) => name.as_bytes(),
                };
                (Status::PERMANENT_REDIRECT, [b"https://", host, port_text(*port, &mut room)])
            }
            To::Canonical { host, is_https } => {
                // Before a proxy that has ended TLS nothing is known of the scheme: the client's
                // stays (RFC 3986 §4.2).
                let scheme: &[u8] = if *is_https { b"https://" } else { b"//" };
                (Status::PERMANENT_REDIRECT, [scheme, host.as_bytes(), &authority[asked.len()..]])
            }
            To::Other(redirect) => (redirect.status, [redirect.to.as_bytes(), b"", b""]),
        };
        let keeps_target = if let To::Other(redirect) = &self.to { redirect.keeps_target() } else { true };
        let (path, query) = match (keeps_target, request.target.path.first()) {
            (true, Some(b'/')) => (request.target.path, request.target.query),
            // `*`, of OPTIONS and CONNECT, has no address.
            (true, _) => (&b"/"[..], None),
            (false, _) => (&b""[..], None),
        };
        let [scheme, host, port] = start;
        let mark: &[u8] = if query.is_some() { b"?" } else { b"" };
        let location = [scheme, host, port, path, mark, query.unwrap_or_default()];
        Reply::moved(status, &location, self.fields, request, scratch)
    }
}

/// Writes a port as it stands behind a host; nothing for that of HTTPS.
fn port_text(port: u16, room: &mut [u8; 8]) -> &[u8] {
    if port == 443 {
        return b"";
    }
    let digits = sitar_http::Decimal::new(u64::from(port));
    let digits = digits.as_bytes();
    let len = 1 + digits.len();
    let Some(text) = room.get_mut(..len) else { return b"" };
    text[0] = b':';
    text[1..].copy_from_slice(digits);
    text
}

pub(super) const NO_SUCH_HOST: Rejection =
    Rejection { status: Status::NOT_FOUND, reason: "no site here has the name that was asked for" };
const MISDIRECTED: Rejection = Rejection {
    status: Status::MISDIRECTED_REQUEST,
    reason: "this connection was opened for another host, and its certificate does not name this one",
};
const UNCERTIFIED: Rejection = Rejection {
    status: Status::MISDIRECTED_REQUEST,
    reason: "this site needs a client certificate, which this connection was not opened with",
};
const NO_HOST: Rejection = Rejection {
    status: Status::BAD_REQUEST,
    reason: "a request without a Host field cannot be redirected to HTTPS",
};

#[cfg(test)]
mod tests;
