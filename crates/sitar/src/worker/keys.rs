//! The certificates of a worker.

use sitar_server::Pem;
use sitar_tls::{ClientCa, HostClients, Identities, Identity};

use crate::config::Config;
use crate::error::Error;
use crate::serve::certificates::{min_version, protocols};

/// Certificates and keys, and the hosts that they are for.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) identities: Vec<Identity>,
    /// Host names with the places of their certificates.
    pub(crate) by_host: Vec<(String, Vec<usize>)>,
    /// The numbers of sites whose clients need a certificate, and what certifies them.
    pub(crate) clients: Vec<(usize, ClientCa)>,
}

impl Keys {
    /// Reads certificates; none: nothing speaks TLS.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(super) fn read(
        pems: &[Pem],
        by_host: Vec<(String, Vec<usize>)>,
        clients: Vec<(usize, ClientCa)>,
    ) -> Result<Option<Keys>, Error> {
        let identities = pems.iter().map(identity).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Keys { identities, by_host, clients }).filter(|keys| !keys.identities.is_empty()))
    }

    /// Returns the configuration of TLS.
    ///
    /// # Errors
    /// They cannot be served together.
    pub(crate) fn config(&self, config: &Config) -> Result<sitar_tls::Config, Error> {
        let own = |places: &Vec<usize>| {
            places.iter().filter_map(|place| self.identities.get(*place).cloned()).collect()
        };
        let by_host = self.by_host.iter().map(|(host, places)| (host.clone(), own(places))).collect();
        let is_alone = config.sites.len() == 1;
        let clients = config.sites.iter().enumerate().map(|(number, site)| HostClients {
            names: site.hosts.clone(),
            is_default: site.is_default || (is_alone && site.hosts.is_empty()),
            ca: client_ca(&self.clients, number),
        });
        let identities = Identities { all: self.identities.clone(), by_host, clients: clients.collect() };
        let protocols = protocols(&config.settings);
        let protocols: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
        sitar_tls::Config::with_min_version(identities, &protocols, min_version(&config.settings))
            .map_err(|error| Error::new("cannot set up TLS").cause(error.to_string()))
    }
}

/// Reads what certifies the clients of sites.
///
/// # Errors
/// It cannot be used.
pub(crate) fn read_client_cas<'p>(
    pems: impl Iterator<Item = (usize, &'p [u8])>,
) -> Result<Vec<(usize, ClientCa)>, Error> {
    let read = |(site, pem)| match ClientCa::from_pem(pem) {
        Ok(ca) => Ok((site, ca)),
        Err(error) => Err(Error::new("cannot use the certificates of client_ca").cause(error.to_string())),
    };
    pems.map(read).collect()
}

/// Checks that what certifies clients has come for each site that names some: without it everyone
/// could ask.
///
/// # Errors
/// It has not.
pub(super) fn check_client_cas(config: &Config, all: &[(usize, ClientCa)]) -> Result<(), Error> {
    let mut sites = config.sites.iter().enumerate();
    if sites.any(|(number, site)| site.client_ca.is_some() && client_ca(all, number).is_none()) {
        return Err(Error::new("the certificates of client_ca were not handed over"));
    }
    Ok(())
}

/// Returns what certifies the clients of a site.
pub(super) fn client_ca(all: &[(usize, ClientCa)], site: usize) -> Option<ClientCa> {
    all.iter().find(|(number, _)| *number == site).map(|(_, ca)| ca.clone())
}

/// Reads a certificate and its key.
///
/// # Errors
/// It cannot be used.
pub(super) fn identity(pem: &Pem) -> Result<Identity, Error> {
    Identity::from_pem(&pem.chain, &pem.key)
        .map_err(|error| Error::new("cannot use a certificate").cause(error.to_string()))
}
