use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;

mod foreign;

fn open(directory: &Path, now: SystemTime) -> Result<LocalIdentity, Error> {
    super::open(&Place::at(directory)?, now)
}

/// A directory that only this user can write to, whatever the umask is.
fn folder() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);

fn at(days: u64) -> SystemTime {
    UNIX_EPOCH + NEW_YEAR + Duration::from_secs(days * DAY)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).output().expect("these tests need openssl");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

/// A directory with an identity made at this very moment, for programs that look at the real clock.
fn fresh() -> (TempDir, LocalIdentity) {
    let root = folder();
    let identity = open(&root.path().join("sitar"), SystemTime::now()).unwrap();
    (root, identity)
}

#[test]
fn made_once_then_reused_then_renewed() {
    let root = folder();
    let directory = root.path().join("share/sitar");
    let first = open(&directory, at(0)).unwrap();
    assert_eq!(first.origin, Origin::Made);
    assert_eq!(first.ca_path, directory.join("local/ca.pem"));
    assert_eq!(fs::read(&first.ca_path).unwrap(), first.ca_pem);

    let second = open(&directory, at(382)).unwrap();
    assert_eq!(second.origin, Origin::Reused);
    assert_eq!((second.fingerprint.as_str(), &second.key_pem), (first.fingerprint.as_str(), &first.key_pem));

    let third = open(&directory, at(384)).unwrap();
    assert_eq!(third.origin, Origin::Renewed(Defect::Expiring));
    assert_ne!(third.fingerprint, first.fingerprint);
    assert_ne!(third.ca_pem, first.ca_pem, "the old authority's key is gone, so there is a new authority");
    assert_eq!(open(&directory, at(384)).unwrap().origin, Origin::Reused);
}

#[test]
fn one_from_the_future_is_renewed() {
    let root = folder();
    open(root.path(), at(10)).unwrap();
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Expiring));
}

#[test]
fn only_the_user_can_read_it_and_no_other_key_is_there() {
    let root = folder();
    let directory = root.path().join("sitar");
    open(&directory, at(0)).unwrap();
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("local")), 0o700);
    for name in ["lock", "local/ca.pem", "local/cert.pem", "local/key.pem"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
    let mut names: Vec<_> = fs::read_dir(directory.join("local"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["ca.pem", "cert.pem", "key.pem"]);
    // The one key there belongs to the server's certificate, not to the authority's.
    let public = |kind: &str, file: &str| {
        let file = directory.join("local").join(file);
        let (done, text) = match kind {
            "key" => openssl(&["pkey", "-in", file.to_str().unwrap(), "-pubout"]),
            _ => openssl(&["x509", "-in", file.to_str().unwrap(), "-noout", "-pubkey"]),
        };
        assert!(done, "{text}");
        text
    };
    assert_eq!(public("key", "key.pem"), public("certificate", "cert.pem"));
    assert_ne!(public("key", "key.pem"), public("certificate", "ca.pem"));
}

#[test]
fn whatever_is_damaged_is_renewed() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 8] = [
        ("key missing", |local| fs::remove_file(local.join("key.pem")).unwrap()),
        ("key empty", |local| fs::write(local.join("key.pem"), "").unwrap()),
        ("key of another", |local| {
            let other = authority::issue(NEW_YEAR).unwrap();
            fs::write(local.join("key.pem"), &other.key).unwrap();
        }),
        ("authority of another", |local| {
            let other = authority::issue(NEW_YEAR).unwrap();
            fs::write(local.join("ca.pem"), &other.ca).unwrap();
        }),
        ("certificate cut off", |local| {
            let bytes = fs::read(local.join("cert.pem")).unwrap();
            fs::write(local.join("cert.pem"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("huge", |local| fs::write(local.join("ca.pem"), vec![b'x'; 70_000]).unwrap()),
        ("a directory in place of a file", |local| {
            fs::remove_file(local.join("ca.pem")).unwrap();
            fs::create_dir(local.join("ca.pem")).unwrap();
        }),
        ("a file in place of the directory", |local| {
            fs::remove_dir_all(local).unwrap();
            fs::write(local, "x").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let root = folder();
        open(root.path(), at(0)).unwrap();
        damage(&root.path().join("local"));
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Damaged), "{what}");
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Reused, "{what}");
    }
}

#[test]
fn an_unlimited_authority_is_not_ours() {
    let root = folder();
    open(root.path(), at(0)).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    fs::write(root.path().join("local/ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Damaged));
}

#[test]
fn leftovers_of_an_interrupted_start_do_not_matter() {
    let root = folder();
    fs::create_dir_all(root.path().join("local.new")).unwrap();
    fs::write(root.path().join("local.new/key.pem"), "half").unwrap();
    fs::write(root.path().join("local.old"), "x").unwrap();
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Made);
    assert!(!root.path().join("local.new").exists());
    assert!(!root.path().join("local.old").exists());
}

#[test]
fn starts_at_the_same_time_agree() {
    let root = folder();
    let barrier = Barrier::new(8);
    let identities: Vec<LocalIdentity> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    open(root.path(), at(0)).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(identities.iter().all(|identity| identity.fingerprint == identities[0].fingerprint));
    let made = identities.iter().filter(|identity| identity.origin == Origin::Made).count();
    assert_eq!(made, 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_explained() {
    let root = folder();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let text = open(&file.join("sitar"), at(0)).unwrap_err().render(false);
    let first = format!("error: cannot keep a certificate in {}/sitar\n", file.display());
    assert!(text.starts_with(&first), "{text}");
    assert!(text.contains("  hint: use another directory: XDG_DATA_HOME=/path sitar …\n"), "{text}");
}

#[test]
fn debug_output_does_not_show_the_key() {
    let (_root, identity) = fresh();
    let text = format!("{identity:?}");
    assert!(!text.contains("PRIVATE") && !text.contains("key_pem"), "{text}");
}

#[test]
fn fingerprints_look_as_in_browsers() {
    assert_eq!(
        fingerprint(b""),
        "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
    );
    let (_root, identity) = fresh();
    let cert = identity.ca_path.with_file_name("cert.pem");
    let (_, text) = openssl(&["x509", "-in", cert.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"]);
    assert_eq!(text.trim_end().rsplit_once('=').unwrap().1, identity.fingerprint);
}

#[test]
fn openssl_accepts_it_for_this_machine_in_strict_mode() {
    let (_root, identity) = fresh();
    let ca = identity.ca_path.to_str().unwrap();
    let cert = identity.ca_path.with_file_name("cert.pem");
    let cert = cert.to_str().unwrap();
    for name in [["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"], ["-verify_ip", "::1"]] {
        let (done, text) = openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-no-CApath",
            "-no-CAstore",
            "-CAfile",
            ca,
            name[0],
            name[1],
            cert,
        ]);
        assert!(done, "{name:?}: {text}");
    }
    let (done, _) = openssl(&["verify", "-CAfile", ca, "-verify_hostname", "example.com", cert]);
    assert!(!done);
}

#[test]
fn the_extensions_are_what_they_should_be() {
    let (_root, identity) = fresh();
    let show = |file: &str| {
        let path = identity.ca_path.with_file_name(file);
        let (done, text) = openssl(&["x509", "-in", path.to_str().unwrap(), "-noout", "-text"]);
        assert!(done, "{text}");
        text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    };
    let ca = show("ca.pem");
    for part in [
        "X509v3 Basic Constraints: critical\nCA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical\nCertificate Sign, CRL Sign",
        "X509v3 Name Constraints: critical\nPermitted:\nDNS:localhost\nIP:127.0.0.0/255.0.0.0\n\
         IP:0:0:0:0:0:0:0:1/FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF",
        "X509v3 Subject Key Identifier:",
        "NIST CURVE: P-256",
    ] {
        assert!(ca.contains(part), "{part}\nis not in\n{ca}");
    }
    let leaf = show("cert.pem");
    for part in [
        "X509v3 Basic Constraints: critical\nCA:FALSE",
        "X509v3 Key Usage: critical\nDigital Signature",
        "X509v3 Extended Key Usage:\nTLS Web Server Authentication",
        "X509v3 Subject Alternative Name:\nDNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "X509v3 Authority Key Identifier:",
        "X509v3 Subject Key Identifier:",
        "NIST CURVE: P-256",
    ] {
        assert!(leaf.contains(part), "{part}\nis not in\n{leaf}");
    }
}

/// Whether a client that trusts `authority` accepts a certificate that it signed for `name`.
fn accepted(authority: &authority::Authority, name: &'static str) -> bool {
    let (leaf, _) = authority.sign(&[name]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().unwrap().into()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .unwrap();
    let time = UnixTime::since_unix_epoch(NEW_YEAR);
    verifier.verify_server_cert(leaf.der(), &[], &ServerName::try_from(name).unwrap(), &[], time).is_ok()
}

#[test]
fn the_constraints_refuse_every_other_name() {
    let authority = authority::Authority::new(NEW_YEAR).unwrap();
    for name in ["localhost", "app.localhost", "127.0.0.1", "127.1.2.3", "::1"] {
        assert!(accepted(&authority, name), "{name}");
    }
    for name in ["example.com", "localhost.example.com", "notlocalhost", "192.0.2.1", "::2", "2001:db8::1"] {
        assert!(!accepted(&authority, name), "{name}");
    }
}

#[test]
fn openssl_refuses_every_other_name() {
    let root = folder();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let authority = authority::Authority::new(since_epoch).unwrap();
    let (ca, cert) = (root.path().join("ca.pem"), root.path().join("cert.pem"));
    fs::write(&ca, authority.certificate().unwrap().pem()).unwrap();
    let verify = |name: &str| {
        fs::write(&cert, authority.sign(&[name]).unwrap().0.pem()).unwrap();
        openssl(&["verify", "-CAfile", ca.to_str().unwrap(), cert.to_str().unwrap()])
    };
    assert!(verify("localhost").0);
    for name in ["example.com", "192.0.2.1"] {
        let (done, text) = verify(name);
        assert!(!done && text.contains("permitted subtree violation"), "{name}: {text}");
    }
}

#[test]
fn a_client_that_trusts_the_authority_shakes_hands() {
    let (_root, identity) = fresh();
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&identity.chain_pem).unwrap()],
            PrivateKeyDer::from_pem_slice(&identity.key_pem).unwrap(),
        )
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&identity.ca_pem).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut client =
        ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
}

#[test]
fn no_clock_makes_it_panic() {
    assert!(authority::issue(Duration::ZERO).is_ok());
    assert!(matches!(authority::issue(Duration::MAX), Err(authority::IssueError::Clock)));
    let root = folder();
    assert!(open(root.path(), UNIX_EPOCH - Duration::from_secs(1)).is_err());
}
