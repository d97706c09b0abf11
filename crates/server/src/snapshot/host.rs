//! A host: the names that it answers to, and what it answers with.

use std::sync::Arc;

use sitar_http::Status;
use sitar_site::{Hsts, Page, Site};
use sitar_tls::ClientCa;

use crate::access::Access;
use crate::log::LogId;

/// What is served under some names.
#[derive(Clone)]
pub struct Host {
    /// The name of its site in numbers. Hosts with the same one are counted together.
    pub label: Arc<str>,
    /// Names in lower case, without a port: DNS names, addresses, those of IPv6 in brackets.
    /// `*.example.com` stands for each name with one label more.
    pub names: Vec<String>,
    /// It also answers to names that no host has, and to requests that name none.
    pub is_default: bool,
    /// The content.
    pub content: HostContent,
    /// The one of `names` that requests for all others are redirected to.
    pub canonical: Option<String>,
    /// The policy in what is not the site's own answer: redirects and the page of a site that
    /// cannot be opened. The site's own have it from its options.
    pub hsts: Option<Hsts>,
    /// Pages of the operator's.
    pub pages: Pages,
    /// What has to certify its clients; `None`: they need no certificate. The configuration of TLS
    /// has to ask for it.
    pub client_ca: Option<ClientCa>,
    /// Who may ask for its site; `None`: everyone.
    pub access: Option<Arc<Access>>,
    /// The log of its answers; `None`: they are not recorded.
    pub log: Option<LogId>,
}

/// The content of a host.
#[derive(Clone)]
pub enum HostContent {
    /// A site.
    Site(Arc<Site>),
    /// None: another address has it.
    Redirect(HostRedirect),
    /// None now: its site cannot be opened.
    Unavailable,
}

/// The address that requests for a host are redirected to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostRedirect {
    /// One of 301, 302, 307 and 308.
    pub status: Status,
    /// `https://host[:port]`, which path and query of the request are put behind; or a whole
    /// address, with a path.
    pub to: String,
}

/// Pages of the operator's for errors that are not the client's.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// For a file that cannot be read (500).
    pub error: Option<Arc<Page>>,
    /// For a site that cannot be opened (503); without it a line of text.
    pub unavailable: Option<Arc<Page>>,
}

impl Host {
    /// A host without anything but names and content. Its label is the first name, or "default"
    /// where there is none.
    #[must_use]
    pub fn new(names: Vec<String>, content: HostContent) -> Host {
        Host {
            label: names.first().map_or("default", String::as_str).into(),
            names,
            is_default: false,
            content,
            canonical: None,
            hsts: None,
            pages: Pages::default(),
            client_ca: None,
            access: None,
            log: None,
        }
    }

    /// Whether there is someone who may not ask for its files.
    pub(crate) fn is_restricted(&self) -> bool {
        self.client_ca.is_some() || self.access.as_ref().is_some_and(|access| access.is_restricted())
    }

    /// Returns its site; `None`: it has none, or none now.
    #[must_use]
    pub fn site(&self) -> Option<&Arc<Site>> {
        if let HostContent::Site(site) = &self.content { Some(site) } else { None }
    }
}

impl HostRedirect {
    /// Returns whether path and query of the request belong behind the address, because it ends
    /// with the host.
    pub(crate) fn keeps_target(&self) -> bool {
        let behind = self.to.find("://").map_or(0, |at| at + "://".len());
        !self.to[behind..].contains(['/', '?', '#'])
    }
}
