//! One configuration with several sites: which site answers a request, and on which connection.

mod ask;
mod place;
mod table;

use crate::common::{Server, eventually, have, run_with};
use ask::{ALL, Connections, Over, head, http1, http2, shown, told};
use place::{Place, RSA_KEY, TEN, WILD};
use rcgen::KeyPair;
use rustls::SignatureScheme;
use std::process::Command;
use table::{Row, TABLE};

/// Signatures that a client may be able to verify.
const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];

/// Sends each request, and compares all that comes back with what is expected.
fn check(server: &Server, connections: &mut Connections, rows: &[Row]) {
    let port = Over::Tls1.address(server).port().to_string();
    let mut wrong = Vec::new();
    for &(over, sni, request, expected) in rows {
        let expected = expected.replace("{https}", &port);
        let answer = connections.ask(server, over, sni, &filled(request));
        if answer != expected {
            wrong.push(format!("{over:?} '{sni}' {request}\n  expected {expected}\n  and not  {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Returns a request of the table with its long paths written out.
fn filled(request: &str) -> String {
    request.replace("{1100}", &"x".repeat(1100)).replace("{9000}", &"x".repeat(9000))
}

#[test]
fn each_request_is_answered_by_its_site_and_a_renewal_in_between_changes_nothing() {
    assert!(TABLE.len() >= 60, "{}", TABLE.len());
    let place = Place::new();
    let server = place.serve(TEN);
    let mut connections = Connections::default();
    let (first, second) = TABLE.split_at(TABLE.len() / 2);
    check(&server, &mut connections, first);
    // Those that come in the second half are open as well when the certificate changes.
    check(&server, &mut connections, second);
    let wild = shown(&server, "x.wild.example", ALL);
    assert_eq!(wild, place.shown("wild"));
    place.renew(&server, "wild", WILD);
    let reloaded = place.reload();
    assert_eq!(reloaded.text(), "reloaded; nothing is different\n", "{reloaded:?}");
    let renewed = shown(&server, "x.wild.example", ALL);
    assert!(renewed == place.shown("wild") && renewed != wild);
    let closed = connections.closed;
    check(&server, &mut connections, second);
    check(&server, &mut connections, first);
    assert_eq!(connections.closed, 2 * closed, "the same requests end the same connections");
    check(&server, &mut Connections::default(), TABLE);
}

#[test]
fn a_client_gets_the_certificate_of_the_site_that_it_asks_for() {
    let place = Place::new();
    let server = place.serve(TEN);
    for (sni, schemes, file) in [
        ("", ALL, "shared"),
        ("nowhere.example", ALL, "shared"),
        ("alpha.example", ALL, "shared"),
        ("xn--bcher-kva.example", ALL, "shared"),
        ("x.wild.example", ALL, "wild"),
        ("X.Wild.Example", ALL, "wild"),
        ("x.y.wild.example", ALL, "shared"),
        ("own.wild.example", ALL, "own"),
        ("own.wild.example", ECDSA, "own"),
        ("own.wild.example", RSA, "own-rsa"),
    ] {
        assert!(shown(&server, sni, schemes) == place.shown(file), "{sni} {file}");
    }
}

/// A name in the handshake with the dot of the root is the name without it. rustls takes it away,
/// as RFC 6066 §3 wants it; openssl does not.
#[test]
fn a_dot_behind_the_name_in_the_handshake_does_not_matter() {
    if !have(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let server = place.serve(TEN);
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-ign_eof", "-servername", "X.wild.example.", "-connect"]);
    openssl.arg(server.address().to_string());
    let request = b"GET /name.txt HTTP/1.1\r\nHost: x.wild.example.\r\nConnection: close\r\n\r\n";
    let said = run_with(&mut openssl, request).text();
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains("\r\n\r\nwild"), "{said}");
    let (_, shown) = said.split_once("-----BEGIN CERTIFICATE-----\n").unwrap();
    let (shown, _) = shown.split_once("-----END").unwrap();
    let pem = std::fs::read_to_string(place.path("wild.pem")).unwrap().replace("\r\n", "\n");
    assert!(pem.contains(shown), "{said}");
}

/// All certificates of the default site are for clients that name no host, not its first alone.
#[test]
fn a_client_without_a_name_gets_a_certificate_of_the_default_site() {
    let place = Place::new();
    place.certificate_of("rest", &["127.0.0.1"], &KeyPair::generate().unwrap());
    place.certificate_of("rest-rsa", &["127.0.0.1"], &RSA_KEY);
    let two = "default = true\ncertificate = [{ chain = \"rest.pem\", key = \"rest.key\" }, \
               { chain = \"rest-rsa.pem\", key = \"rest-rsa.key\" }]";
    let server = place.serve(&TEN.replace("default = true", two));
    for (sni, schemes, file) in [
        ("", ECDSA, "rest"),
        ("", RSA, "rest-rsa"),
        ("nowhere.example", RSA, "rest-rsa"),
        ("own.wild.example", RSA, "own-rsa"),
        ("own.wild.example", ECDSA, "own"),
        ("alpha.example", ALL, "shared"),
        ("x.wild.example", ALL, "wild"),
    ] {
        assert!(shown(&server, sni, schemes) == place.shown(file), "'{sni}' {file}");
    }
}

/// The names that a connection was shown count on it, whatever the certificate is now.
#[test]
fn a_certificate_that_names_others_counts_for_new_connections() {
    let place = Place::new();
    let server = place.serve(TEN);
    let mut old = Connections::default();
    let rows = |beta, more| -> [Row; 4] {
        [
            (Over::Tls2, "alpha.example", "GET alpha.example /name.txt", "200 alpha hsts"),
            (Over::Tls2, "alpha.example", "GET beta.example /name.txt", beta),
            (Over::Tls2, "alpha.example", "GET more.example /name.txt", more),
            // In HTTP/1 a refusal ends the connection.
            (Over::Tls1, "alpha.example", "GET alpha.example /name.txt", "200 alpha hsts"),
        ]
    };
    check(&server, &mut old, &rows("200 beta", "421"));
    place.renew(&server, "shared", &["alpha.example", "more.example"]);
    let mut new = Connections::default();
    for _ in 0..2 {
        check(&server, &mut old, &rows("200 beta", "421"));
        check(&server, &mut new, &rows("421", "200 rest"));
        // A configuration that is read again changes nothing of it either.
        assert!(place.reload().status.success());
    }
    check(&server, &mut old, &[(Over::Tls1, "alpha.example", "GET beta.example /", "200 beta")]);
    check(&server, &mut new, &[(Over::Tls1, "alpha.example", "GET beta.example /", "421")]);
    assert_eq!((old.closed, new.closed), (0, 1));
}

/// Streams of one connection are for several hosts at the same time, and one that is for none of
/// the connection's leaves the others alone.
#[test]
fn streams_of_one_connection_are_for_several_hosts() {
    let place = Place::new();
    let server = place.serve(TEN);
    let mut client = http2(&server, "alpha.example");
    let hosts = [
        ("alpha.example", "200 alpha hsts"),
        ("x.wild.example", "421"),
        ("beta.example:8443", "200 beta"),
        ("www.alpha.example", "308 https://alpha.example/name.txt hsts"),
        ("nowhere.example", "421"),
        ("XN--BCHER-KVA.EXAMPLE", "200 books"),
        ("down.example", "503 soon again hsts"),
        ("gone.example", "302 https://beta.example/moved?from=gone"),
        ("127.0.0.1", "200 address"),
    ];
    for _ in 0..10 {
        let mut wire = Vec::new();
        let mut streams = Vec::new();
        for (host, _) in hosts.iter().cycle().take(5 * hosts.len()) {
            let fields = [(":method", "GET"), (":path", "/name.txt"), (":authority", *host)];
            let (stream, bytes) = client.ask_for(&fields);
            wire.extend(bytes);
            streams.push(stream);
        }
        client.send(&wire).unwrap();
        let answers = client.answers(&streams).unwrap();
        for ((host, expected), answer) in hosts.iter().cycle().zip(answers.values()) {
            assert_eq!(told(answer), *expected, "{host}");
        }
    }
}

/// Requests of HTTP/1 that come in one piece.
#[test]
fn requests_behind_one_another_are_for_several_hosts() {
    let place = Place::new();
    let server = place.serve(TEN);
    let mut client = http1(&server, "alpha.example");
    let all = [
        ("GET alpha.example /name.txt", "200 alpha hsts"),
        ("GET beta.example:443 /name.txt", "200 beta"),
        ("GET www.alpha.example /", "308 https://alpha.example/ hsts"),
        ("GET https://127.0.0.1/name.txt HTTP/1.1\r\nHost: beta.example", "200 address"),
        ("GET xn--bcher-kva.example. /name.txt", "200 books"),
        ("GET alpha.example /none", "404 alpha has no such page hsts"),
        ("GET gone.example /", "302 https://beta.example/moved?from=gone"),
        ("GET beta.example /name.txt", "200 beta"),
        ("GET own.wild.example /name.txt", "421"),
    ];
    let wire: Vec<u8> = all.iter().flat_map(|(request, _)| head(request)).collect();
    client.send(&wire).unwrap();
    for (request, expected) in all {
        assert_eq!(told(&client.response(false).unwrap()), expected, "{request}");
    }
}

/// A site is served as soon as it is there, and the status says no more that it is not. Connections
/// that got its page for 503 get it, too, unless another worker serves it: then they go on to their
/// end, and others get it.
#[test]
fn a_site_that_comes_is_served_and_no_longer_warned_of() {
    let place = Place::new();
    let server = place.serve(TEN);
    let mut connections = Connections::default();
    let row = |answer| [(Over::Tls2, "alpha.example", "GET down.example /name.txt", answer)];
    check(&server, &mut connections, &row("503 soon again hsts"));
    assert!(place.status().contains("until then it answers with 503"), "{}", place.status());
    std::fs::create_dir(place.path("new")).unwrap();
    place.write("new/name.txt", "it is here");
    std::fs::rename(place.path("new"), place.path("missing.tar")).unwrap();
    eventually("the site", || server.said().contains("the site can be served now: 1 file now"));
    if server.said().contains("another worker serves now") {
        connections = Connections::default();
    }
    check(&server, &mut connections, &row("200 it is here hsts"));
    assert!(!place.status().contains("answers with 503"), "{}", place.status());
}

#[test]
fn without_a_default_site_unknown_names_lead_nowhere() {
    let place = Place::new();
    let (sites, _) = TEN.split_once("[[site]]\ndefault").unwrap();
    let server = place.serve(sites);
    check(&server, &mut Connections::default(), table::NO_DEFAULT);
}
