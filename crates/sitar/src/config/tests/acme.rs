//! Authorities, and what is ordered for sites.

use std::time::Duration;

use sitar_acme::{ChallengeKind, KeyType, Wanted};

use super::accepted::full;
use super::*;

use ChallengeKind::{Dns01, Http01, TlsAlpn01};

fn read_text(text: &str) -> Config {
    let folder = Folder::of(text);
    folder.read(&[]).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

/// Returns what is wanted: the number of the site, the names, and the rest.
fn plan(text: &str) -> Vec<(usize, String, Wanted)> {
    let wanted = read_text(text).acme_plan();
    let names =
        |wanted: &Wanted| wanted.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    wanted.into_iter().map(|(site, wanted)| (site, names(&wanted), wanted)).collect()
}

const AGREED: &str = "[acme]\nagree_tos = true\n";
const BOTH: &str = "[[listen]]\naddress = \":443\"\n[[listen]]\naddress = \":80\"\nredirect = \"https\"\n";

fn site(hosts: &str) -> String {
    format!("[[site]]\nroot = \"x\"\nhosts = [{hosts}]\ncertificate = \"acme\"\n")
}

#[test]
fn every_key_of_acme_has_its_effect() {
    let folder = full();
    let config = folder.read(&[]).unwrap();
    let at = |name: &str| folder.path().join(name);
    let place = |line| Place { file: folder.file().into(), line, column: 1 };
    let expected = AcmeConfig {
        authorities: vec![
            AuthorityConfig {
                place: place(102),
                directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
                ca: None,
                agrees: true,
                contact: vec![
                    "mailto:webmaster@example.com".to_owned(),
                    "mailto:second@example.com".to_owned(),
                ],
                eab: None,
            },
            AuthorityConfig {
                place: place(105),
                directory: "https://acme.example.com:14000/Dir?x=1".to_owned(),
                ca: Some(at("authority.pem")),
                agrees: false,
                contact: vec!["https://example.com/contact".to_owned()],
                eab: Some(EabConfig { kid: "kid-1".to_owned(), key_file: at("eab.key") }),
            },
        ],
        options: AcmeOptions {
            profile: Some("tlsserver".to_owned()),
            preferred_chain: Some("ISRG Root X1".to_owned()),
            keys: vec![KeyType::Rsa2048, KeyType::P256],
            challenges: vec![Http01, Dns01, TlsAlpn01],
        },
        dns_command: vec![at("hooks/dns.sh").display().to_string(), "ns1.example.com".to_owned()],
        dns_wait: Duration::from_secs(30),
        state: Some(at("state")),
    };
    assert_eq!(config.acme, Some(expected));
    let own = AcmeOptions {
        profile: Some("classic".to_owned()),
        preferred_chain: Some("X2".to_owned()),
        keys: vec![KeyType::P256],
        challenges: vec![Dns01, Http01],
    };
    assert_eq!(config.sites[3].certificates, Certificates::Acme(own));
    let plan = config.acme_plan();
    let [(3, wanted)] = &plan[..] else { panic!("{plan:?}") };
    assert_eq!(wanted.name(), "shop.example.com");
    assert_eq!((wanted.profile.as_deref(), wanted.preferred_chain.as_deref()), (Some("classic"), Some("X2")));
    assert_eq!(wanted.challenges, [Dns01, Http01]);
}

#[test]
fn a_line_is_enough_beside_the_agreement() {
    let config = read_text(&format!("{AGREED}{BOTH}{}", site("\"example.com\"")));
    let acme = config.acme.clone().unwrap();
    let [authority] = &acme.authorities[..] else { panic!("{acme:?}") };
    assert_eq!(authority.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert!(authority.agrees && authority.is_lets_encrypt() && authority.contact.is_empty());
    assert_eq!((acme.dns_wait, acme.state), (Duration::ZERO, None));
    let plan = config.acme_plan();
    let [(0, wanted)] = &plan[..] else { panic!("{plan:?}") };
    let Wanted { key, profile, preferred_chain, challenges, .. } = wanted;
    assert_eq!((*key, profile, preferred_chain), (KeyType::P256, &None, &None));
    assert_eq!(challenges, &[TlsAlpn01, Http01]);
    // Without a site that wants one, the table may be there, and without both there is nothing.
    let unused = read_text(&format!("{AGREED}[[site]]\nroot = \"x\"\n"));
    assert!(unused.acme.is_some() && unused.acme_plan().is_empty());
    assert_eq!(read_text("[[site]]\nroot = \"x\"\n").acme, None);
}

#[test]
fn the_server_may_say_it_for_all_sites() {
    let text = format!(
        "[server]\ncertificate = \"acme\"\n{AGREED}[[site]]\nroot = \"x\"\nhosts = \"a.example.com\"\n\
         [[site]]\nroot = \"x\"\nhosts = \"localhost\"\ncertificate = \"local\"\n\
         [[site]]\nroot = \"x\"\nhosts = \"b.example.com\"\nacme = {{ keys = \"rsa\" }}\n"
    );
    let config = read_text(&text);
    // Who has a name to be certified is reached under it.
    assert_eq!(config.listeners[0].addresses, [Listen::Port(8443)]);
    let names: Vec<_> = config.acme_plan().iter().map(|(site, wanted)| (*site, wanted.name())).collect();
    assert_eq!(names, [(0, "a.example.com".to_owned()), (2, "b.example.com_rsa".to_owned())]);
}

#[test]
fn names_and_addresses_have_certificates_of_their_own() {
    let hosts = site("\"a.example.com\", \"9.9.9.9\", \"*.a.example.com\", \"[2620:fe::fe]\"");
    let dns = "dns_command = \"/dns.sh\"\n";
    let found =
        plan(&format!("{AGREED}{dns}keys = [\"p256\", \"rsa\"]\nprofile = \"classic\"\n{BOTH}{hosts}"));
    let shown: Vec<_> = found
        .iter()
        .map(|(_, names, wanted)| {
            (&**names, wanted.key, wanted.profile.as_deref().unwrap_or_default(), &wanted.challenges[..])
        })
        .collect();
    let (names, addresses) = ("a.example.com *.a.example.com", "9.9.9.9 2620:fe::fe");
    assert_eq!(
        shown,
        [
            // What the wildcard needs is taken for its domain as well.
            (names, KeyType::P256, "classic", &[Dns01, TlsAlpn01, Http01][..]),
            (names, KeyType::Rsa2048, "classic", &[Dns01, TlsAlpn01, Http01]),
            // Let's Encrypt certifies addresses under this profile only.
            (addresses, KeyType::P256, "shortlived", &[TlsAlpn01, Http01]),
            (addresses, KeyType::Rsa2048, "shortlived", &[TlsAlpn01, Http01]),
        ]
    );
    let own = format!("{AGREED}{BOTH}{}acme = {{ profile = \"new\" }}\n", site("\"9.9.9.9\""));
    assert_eq!(plan(&own)[0].2.profile.as_deref(), Some("new"));
    // With a second authority, which may have no such profile, the order finds out.
    let second = "[[acme.authority]]\ndirectory = \"letsencrypt\"\nagree_tos = true\n\
                  [[acme.authority]]\ndirectory = \"https://127.0.0.1:14000/dir\"\n";
    let addresses: Vec<_> = (1..=26).map(|n| format!("\"9.9.9.{n}\"")).collect();
    let found = plan(&format!("{second}{BOTH}{}", site(&addresses.join(", "))));
    let found: Vec<_> = found.iter().map(|(.., one)| (one.identifiers.len(), one.profile.clone())).collect();
    assert_eq!(found, [(25, None), (1, None)]);
    let other = "[acme]\ndirectory = \"https://127.0.0.1:14000/dir\"\n";
    let found = plan(&format!("{other}{BOTH}{}", site("\"127.0.0.2\", \"a.test\"")));
    assert_eq!(found.iter().map(|(.., wanted)| wanted.profile.clone()).collect::<Vec<_>>(), [None, None]);
}

#[test]
fn many_names_are_cut() {
    let hosts = |count: usize| {
        site(&(0..count).map(|n| format!("\"n{n}.example.com\"")).collect::<Vec<_>>().join(", "))
    };
    let counts =
        |text: &str| plan(text).iter().map(|(.., wanted)| wanted.identifiers.len()).collect::<Vec<_>>();
    assert_eq!(counts(&format!("{AGREED}{}", hosts(100))), [100]);
    assert_eq!(counts(&format!("{AGREED}{}", hosts(201))), [100, 100, 1]);
    let newer = format!("{AGREED}profile = \"tlsserver\"\n{}", hosts(26));
    assert_eq!(counts(&newer), [25, 1]);
    let names: Vec<_> = plan(&newer).iter().map(|(.., wanted)| wanted.name()).collect();
    assert_eq!(names, ["n0.example.com", "n25.example.com"]);
}

#[test]
fn the_likeliest_challenge_comes_first() {
    let listen = |address: &str, rest: &str| format!("[[listen]]\naddress = {address}\n{rest}");
    let (off, redirect) = ("tls = \"off\"\n", "redirect = \"https\"\n");
    let hosts = site("\"a.example.com\"");
    let of = |listeners: &str, extra: &str| {
        plan(&format!("{AGREED}{extra}{listeners}{hosts}"))[0].2.challenges.clone()
    };
    let dns = "dns_command = [\"/dns.sh\", \"x\"]\n";
    assert_eq!(of(&listen("\":443\"", ""), ""), [TlsAlpn01]);
    assert_eq!(of(&listen("\":8443\"", ""), dns), [TlsAlpn01, Dns01]);
    let eighty = listen("\":80\"", redirect);
    assert_eq!(of(&(listen("\":443\"", "") + &eighty), ""), [TlsAlpn01, Http01]);
    // Something in front leads port 80 here; of 443 it is not known.
    assert_eq!(of(&(listen("\":8443\"", "") + &eighty), ""), [Http01, TlsAlpn01]);
    assert_eq!(of(&(listen("\"systemd:https\"", "") + &eighty), ""), [TlsAlpn01, Http01]);
    assert_eq!(of(&(listen("\"passed:/p\"", "") + &eighty), ""), [TlsAlpn01, Http01]);
    let plain = listen("\"127.0.0.1:8080\"", off);
    assert_eq!(of(&(listen("\":8443\"", "") + &plain), ""), [TlsAlpn01, Http01]);
    let said = "challenges = [\"http-01\", \"tls-alpn-01\"]\n";
    assert_eq!(of(&(listen("\":443\"", "") + &eighty), said), [Http01, TlsAlpn01]);
    let wild = plan(&format!("{AGREED}{dns}{eighty}{}{}", listen("\":443\"", ""), site("\"*.example.com\"")));
    assert_eq!((wild[0].2.name(), &wild[0].2.challenges), ("_.example.com".to_owned(), &vec![Dns01]));
}

#[test]
fn contacts_as_they_are_written() {
    use crate::config::acme::contact;
    for (text, url) in [
        ("a@example.com", Some("mailto:a@example.com")),
        ("mailto:a+b@example.com", Some("mailto:a+b@example.com")),
        ("https://example.com/contact", Some("https://example.com/contact")),
        ("a", None),
        ("a@", None),
        ("@example.com", None),
        ("a@example", None),
        ("a@example.com,b@example.com", None),
        ("a@example.com?subject=x", None),
        ("Name <a@example.com>", None),
        ("a@b@example.com", None),
        ("http://example.com", None),
        ("tel:123", None),
    ] {
        assert_eq!(contact(text).as_deref(), url, "{text}");
    }
}

#[test]
fn other_authorities_certify_what_the_public_ones_do_not() {
    let other = "[acme]\ndirectory = \"https://ca.internal/acme/directory\"\nca = \"root.pem\"\n";
    for host in ["a.internal", "b.local", "c.test", "10.0.0.1", "127.0.0.2", "[fd00::1]", "d.home.arpa"] {
        let text = site(&format!("\"{host}\""));
        assert_eq!(plan(&format!("{other}{text}")).len(), 1, "{host}");
        let folder = Folder::of(&format!("{AGREED}{text}"));
        let problems = folder.problems(&[]);
        assert!(problems.contains("no authority certifies the host"), "{host}: {problems}");
    }
}

#[test]
fn flags_say_what_a_file_would() {
    use crate::cli::{Verb, parse};
    let config = |arguments: &[&str]| {
        let all = ["sitar", "serve", "/srv/x", "--domain"].iter().chain(arguments);
        let Verb::Serve(settings) = parse(all, None).unwrap() else { panic!() };
        settings.config.unwrap()
    };
    let file = config(&["example.com,www.example.com", "--shards", "3", "--listing", "--state", "/state"]);
    let (config_read, texts) = read_with_texts(&file).unwrap();
    assert_eq!(config_read.sites[0].hosts, ["example.com", "www.example.com"]);
    assert_eq!(config_read.settings.shards.unwrap().get(), 3);
    assert_eq!(config_read.acme.as_ref().unwrap().state.as_deref(), Some(Path::new("/state")));
    let roles: Vec<_> = config_read.listeners.iter().map(|one| (one.addresses.clone(), one.role)).collect();
    assert_eq!(
        roles,
        [
            (vec![Listen::Port(443)], ListenerRole::Https),
            (vec![Listen::Port(80)], ListenerRole::RedirectToHttps)
        ]
    );
    assert!(config_read.strict);
    // A worker reads the same out of the texts.
    assert_eq!(read_texts(&texts, &file.given, file.port), Ok(config_read.clone()));
    assert_eq!(config_read.acme_plan().len(), 1);
    // Mistakes are those of flags, without keys that the operator has not written.
    let problems = read_with_texts(&config(&["printer.local,10.0.0.1"])).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "--domain: no authority certifies the host 'printer.local': the name is not of the public DNS",
            "--domain: no authority certifies the host '10.0.0.1': the address is not a public one",
        ]
    );
}
