//! The time from a renewal to the first handshake with it. certbot's layout is renewed in its own
//! way: the files of each version stand in the archive before four links are pointed to them, one
//! after the other.

use super::running::{Running, connect, free_port};
use super::{serve, write_configuration};
use crate::program::Result;
use crate::times::Times;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Renewals that are timed.
const RENEWALS: usize = 10;
/// The time between two of them.
const PAUSE: Duration = Duration::from_millis(500);
/// A renewal that is not served by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// The names of the sites. The certificate of the first is renewed.
const NAMES: [&str; 2] = ["renewed.example.com", "other.example.com"];
/// The links of a certificate, in the order in which certbot points them elsewhere.
const LINKS: [&str; 4] = ["cert", "privkey", "chain", "fullchain"];

/// Times the renewals, and prints them.
pub(super) fn run(program: &Path, folder: &Path) -> Result<()> {
    let mut roots = RootCertStore::empty();
    let mut versions = Vec::new();
    let mut make = |name: &str, version: usize| -> Result<CertificateDer<'static>> {
        let certificate = issue(folder, name, version)?;
        roots.add(certificate.clone())?;
        Ok(certificate)
    };
    let other = make(NAMES[1], 0)?;
    for version in 0..=RENEWALS {
        versions.push(make(NAMES[0], version)?);
    }
    for name in NAMES {
        fs::create_dir_all(folder.join("live").join(name))?;
        point(folder, name, 0)?;
    }
    let config = client(roots)?;
    let (port, file) = (free_port()?, folder.join("renewal.toml"));
    let site = |name: &str| {
        let pem = |file| format!("\"live/{name}/{file}.pem\"");
        let (chain, key) = (pem("fullchain"), pem("privkey"));
        format!(
            "[[site]]\nhosts = \"{name}\"\nroot = \"site.tar\"\ncertificate = {{ chain = {chain}, key = {key} }}\n"
        )
    };
    write_configuration(&file, port, "", &NAMES.map(site).concat())?;
    let command = serve(program, folder, &file);
    let running = Running::start(command, folder, || shown(&config, port, NAMES[0]).map(drop))?;
    let mut times = Times::default();
    let mut handshakes = 0;
    for (version, pair) in versions.windows(2).enumerate() {
        sleep(PAUSE);
        let [old, new] = pair else { break };
        point(folder, NAMES[0], version + 1)?;
        let begin = Instant::now();
        loop {
            handshakes += 1;
            let shown = shown(&config, port, NAMES[0])?;
            if shown == *new {
                break;
            }
            if shown != *old || begin.elapsed() > PATIENCE {
                return Err(format!("renewal {} is not served", version + 1).into());
            }
        }
        times.add(Ok::<_, String>(begin.elapsed()));
    }
    if shown(&config, port, NAMES[1])? != other {
        return Err("the other site's certificate has changed".into());
    }
    running.stop()?;
    println!("from the last link of a renewal to the end of the first handshake with it");
    println!(
        "  {RENEWALS} renewals, {handshakes} handshakes: median {:.0} ms, at most {:.0} ms\n",
        times.percentile(50),
        times.percentile(100)
    );
    Ok(())
}

/// Makes a certificate and its key as a version in certbot's archive.
fn issue(folder: &Path, name: &str, version: usize) -> Result<CertificateDer<'static>> {
    let archive = folder.join("archive").join(name);
    fs::create_dir_all(&archive)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.self_signed(&key)?;
    for link in LINKS {
        let pem = if link == "privkey" { key.serialize_pem() } else { certificate.pem() };
        fs::write(archive.join(format!("{link}{version}.pem")), pem)?;
    }
    Ok(CertificateDer::from_pem_slice(certificate.pem().as_bytes())?)
}

/// Points the links of a certificate to a version.
fn point(folder: &Path, name: &str, version: usize) -> Result<()> {
    for link in LINKS {
        let path = folder.join(format!("live/{name}/{link}.pem"));
        if version > 0 {
            fs::remove_file(&path)?;
        }
        symlink(format!("../../archive/{name}/{link}{version}.pem"), path)?;
    }
    Ok(())
}

/// Returns a client whose handshakes are whole ones.
fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns the certificate that a handshake shows.
fn shown(config: &Arc<ClientConfig>, port: u16, name: &'static str) -> io::Result<CertificateDer<'static>> {
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let mut socket = connect(port)?;
    let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    chain.first().cloned().ok_or_else(|| io::Error::other("no certificate"))
}
