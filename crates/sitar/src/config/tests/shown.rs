//! What is shown is read as the same configuration.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;
use toml::de::DeTable;

use super::accepted::full;
use super::*;
use crate::config::load::{Loaded, load};
use crate::config::show::{self, show};
use crate::settings::merge::ValueOrigin;

/// A configuration without the names of its files and their lines.
fn without_places(mut config: Config) -> Config {
    let nowhere = Place::whole(&Path::new("").into());
    config.file = PathBuf::new();
    config.listeners.iter_mut().for_each(|listener| listener.place = nowhere.clone());
    config.log.target.place = nowhere.clone();
    for authority in config.acme.iter_mut().flat_map(|acme| &mut acme.authorities) {
        authority.place = nowhere.clone();
    }
    config.sites.iter_mut().for_each(|site| {
        site.place = nowhere.clone();
        site.log.iter_mut().for_each(|log| log.place = nowhere.clone());
    });
    config
}

/// Reads what is shown in a folder of its own. Returns the text.
fn round_trip(loaded: &Loaded) -> String {
    let text = show(loaded);
    let again = Folder::of(&text);
    let read = load(&again.file(), &[], None).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    assert_eq!(without_places(read.config.clone()), without_places(loaded.config.clone()), "{text}");
    // And what is shown of that differs in its comments alone.
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap().trim_end().to_owned()).collect()
    };
    let own = |line: &String| line.starts_with('#');
    let without_comments =
        |text: &str| values(text).into_iter().filter(|line| !own(line)).collect::<Vec<_>>();
    assert_eq!(without_comments(&show(&read)), without_comments(&text));
    text
}

/// Returns the text with one space before each comment.
fn squeezed(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(" # ") {
        Some((value, origin)) => format!("{} # {origin}\n", value.trim_end()),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn every_key_is_shown_with_its_origin() {
    let folder = full();
    let given = [
        Given { name: "shards", origin: ValueOrigin::Flag, values: vec!["3".into()] },
        Given { name: "head-seconds", origin: ValueOrigin::Variable, values: vec!["7".into()] },
    ];
    let text = round_trip(&load(&folder.file(), &given, None).unwrap());
    let shown = squeezed(&text.replace(&folder.prefix(), ""));
    for line in [
        "shards = 3 # --shards",
        "head_seconds = 7 # SITAR_HEAD_SECONDS",
        "http2 = false # sitar.toml:7:1",
        "spin = \"500us\" # sitar.toml:9:1",
        "memory = \"1 GiB\" # sitar.toml:13:1",
        "trusted_proxies = [\"10.0.0.0/8\", \"unix\"] # sitar.toml:21:1",
        "[[listen]] # sites.d/a.toml:1:1",
        "address = [\":80\", \"systemd:http\", \"systemd:http 2\", \"passed:run/pass.sock\"] # sitar.toml:32:1",
        "redirect = \"https\" # sitar.toml:33:1",
        "proxy_protocol = [\"10.0.0.0/8\", \"2001:db8::1\", \"unix\"] # sitar.toml:39:1",
        "pages.500 = \"500.html\" # sitar.toml:26:11",
        "pages.503 = \"example/503.html\" # sitar.toml:67:1",
        "users = \"example.htpasswd\" # sitar.toml:58:1",
        "realm = \"Staff\" # sitar.toml:59:1",
        "allow = [\"10.0.0.0/8\", \"unix\"] # sitar.toml:60:1",
        "deny = \"10.1.0.0/16\" # sitar.toml:61:1",
        "rate = \"20/s\" # sitar.toml:62:1",
        "burst = 50 # sitar.toml:63:1",
        "[log] # sitar.toml:80:1",
        "access = \"stdout\" # sitar.toml:81:1",
        "format = \"combined\" # sitar.toml:82:1",
        "addresses = \"truncated\" # sitar.toml:83:1",
        "sample = { 2xx = 10, 3xx = 20, 4xx = 2, 5xx = 1 } # sitar.toml:84:1",
        "events = \"json\" # sitar.toml:85:1",
        "redirect_status = 308 # default",
        "certificate = \"local\" # sitar.toml:77:1",
        "watch = false # sitar.toml:78:1",
        "acme = { profile = \"classic\", preferred_chain = \"X2\", keys = \"p256\", challenges = [\"dns-01\", \"http-01\"] } # sitar.toml:116:1",
        "[acme] # sitar.toml:91:1",
        "keys = [\"rsa\", \"p256\"] # sitar.toml:96:1",
        "dns_command = [\"hooks/dns.sh\", \"ns1.example.com\"] # sitar.toml:98:1",
        "dns_wait = \"30s\" # sitar.toml:99:1",
        "state = \"state\" # sitar.toml:100:1",
        "[[acme.authority]] # sitar.toml:102:1",
        "directory = \"https://acme-v02.api.letsencrypt.org/directory\" # sitar.toml:103:1",
        "agree_tos = true # sitar.toml:92:1",
        "agree_tos = false # sitar.toml:108:1",
        "contact = \"https://example.com/contact\" # sitar.toml:109:1",
        "eab = { kid = \"kid-1\", key_file = \"eab.key\" } # sitar.toml:110:1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    for key in keys::SERVER.keys.iter().chain(keys::SITE.keys).chain(keys::LISTEN.keys).chain(keys::LOG.keys)
    {
        assert!(shown.contains(&format!("\n{}", key.name)), "{}\n{shown}", key.name);
    }
}

#[test]
fn defaults_are_shown_as_such() {
    let folder = Folder::of("[[site]]\nroot = \"public\"\n");
    let text = round_trip(&load(&folder.file(), &[], Some(5000)).unwrap());
    assert_eq!(
        squeezed(&text.replace(&folder.prefix(), "")),
        "# What is in force, and behind each value where it comes from.\n\
         \n\
         [server]\n\
         tls = \"auto\" # default\n\
         # min_tls = \"1.2\" # default\n\
         http2 = true # default\n\
         engine = \"auto\" # default\n\
         # spin: not set # default\n\
         sandbox = \"auto\" # default\n\
         # shards: not set # default\n\
         # connections: not set # default\n\
         memory = \"512 MiB\" # default\n\
         handshake_seconds = 10 # default\n\
         head_seconds = 10 # default\n\
         idle_seconds = 60 # default\n\
         send_seconds = 30 # default\n\
         stop_seconds = 30 # default\n\
         # user: not set # default\n\
         strict = false # default\n\
         # trusted_proxies: not set # default\n\
         compress = true # default\n\
         # cache: not set # default\n\
         cache_size = \"1 GiB\" # default\n\
         \n\
         [[listen]] # default\n\
         address = \"localhost:5000\" # default\n\
         \n\
         [[site]] # sitar.toml:1:1\n\
         default = false # default\n\
         root = \"public\" # sitar.toml:2:1\n\
         follow_links = false # default\n\
         serve_config_files = false # default\n\
         watch = true # default\n\
         listing = false # default\n\
         certificate = \"local\" # default\n\
         \n\
         [log] # default\n\
         access = \"off\" # default\n\
         format = \"json\" # default\n\
         addresses = \"full\" # default\n\
         # sample: not set # default\n\
         events = \"text\" # default\n"
    );
}

#[test]
fn a_path_that_is_not_utf_8_is_a_comment() {
    let folder = Folder::new([]);
    let inner = folder.path().join(OsStr::from_bytes(b"\xff\n\xfe"));
    fs::create_dir(&inner).unwrap();
    let file = inner.join("sitar.toml");
    let text = "[server]\npages.500 = \"500\"\ncertificate = { chain = \"c\", key = \"k\" }\n\
                [[site]]\nroot = \"x\"\ncertificate = [{ chain = \"/c\", key = \"k\" }, { chain = \"/c\", key = \"/k\" }]\n\
                [[site]]\ndefault = true\nroot = \"/x\"\npages.500 = \"/500\"\n\
                [admin]\nsocket = \"s\"\n";
    fs::write(&file, text.replace("root = \"x\"", "hosts = \"localhost\"\nroot = \"x\"")).unwrap();
    let shown = show(&load(&file, &[], None).unwrap());
    // Readable, and without what would be read as another path.
    DeTable::parse(&shown).unwrap();
    let is = |start: &str| shown.lines().filter(|line| line.starts_with(start)).count();
    for (name, comments, values) in
        [("pages.500", 2, 1), ("certificate", 3, 0), ("root", 1, 1), ("socket", 1, 0)]
    {
        let comment = format!("# {name} cannot be written in TOML: ");
        assert_eq!((is(&comment), is(&format!("{name} = "))), (comments, values), "{name}\n{shown}");
    }
    assert!(!shown.lines().any(|line| line.contains('\u{fffd}') && !line.contains('#')), "{shown}");
}

/// A path of any characters but NUL.
fn any_path() -> impl Strategy<Value = String> {
    "[a-z./\\-_ \"'\\\\#\u{1}\u{7f}é\n\t=]{1,12}"
}

/// Lines of `[server]`, each there or not.
fn server() -> impl Strategy<Value = String> {
    let line = |line: &'static str| proptest::option::of(Just(line.to_owned()));
    let number = |name: &'static str, range: std::ops::RangeInclusive<u32>| {
        proptest::option::of(range.prop_map(move |number| format!("{name} = {number}")))
    };
    let certificate = (any_path(), any_path())
        .prop_map(|(a, b)| format!("certificate = {{ chain = {}, key = {} }}", quoted(&a), quoted(&b)));
    (
        line("http2 = false"),
        line("min_tls = \"1.3\""),
        line("tls = \"user\""),
        line("engine = \"sqpoll\"\nspin = \"1500us\""),
        number("shards", 1..=512),
        number("connections", 1..=u32::MAX),
        number("memory", 0..=u32::MAX),
        number("stop_seconds", 0..=86_400),
        line("strict = true\ntrusted_proxies = \"unix\"\ncompress = false\ncache_size = 7"),
        proptest::option::of(certificate),
        proptest::option::of(any_path().prop_map(|path| format!("pages.503 = {}", quoted(&path)))),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j, k)| {
            let lines = [a, b, c, d, e, f, g, h, i, j, k].into_iter().flatten().collect::<Vec<_>>();
            format!("[server]\n{}\n", lines.join("\n"))
        })
}

fn quoted(text: &str) -> String {
    show::quoted(text)
}

/// A site whose hosts are its number's.
fn site() -> impl Strategy<Value = (usize, String)> {
    let content = prop_oneof![
        (
            any_path(),
            proptest::option::of("[ -~é]{0,8}"),
            any::<[bool; 4]>(),
            proptest::option::of(100..3_600_000_u32)
        )
            .prop_map(|(root, prefix, [links, files, watch, listing], poll)| {
                let mut text = format!(
                    "root = {}\nfollow_links = {links}\nserve_config_files = {files}\nlisting = {listing}\n",
                    quoted(&root)
                );
                if let Some(prefix) = prefix {
                    text += &format!("prefix = {}\n", quoted(&prefix));
                }
                match poll {
                    Some(poll) => text += &format!("poll = \"{poll}ms\"\n"),
                    None => text += &format!("watch = {watch}\n"),
                }
                text
            }),
        (
            "https?://[a-z]{1,9}\\.example(:[1-9][0-9]{0,3})?(/[a-zA-Z0-9?&=#%\"'\\\\]{0,9})?",
            proptest::sample::select(vec![301, 302, 307, 308])
        )
            .prop_map(|(to, status)| format!("redirect_to = {}\nredirect_status = {status}\n", quoted(&to))),
    ];
    let hsts = proptest::option::of(Just("hsts = \"max-age=5; preload\"\n"));
    let page =
        proptest::option::of(any_path().prop_map(|path| format!("pages = {{ 500 = {} }}\n", quoted(&path))));
    (1..4_usize, content, hsts, page, any::<bool>()).prop_map(|(hosts, content, hsts, page, canonical)| {
        let canonical = if canonical { "canonical = \"h0.sN.localhost\"\n" } else { "" };
        (hosts, format!("{content}{}{}{canonical}", hsts.unwrap_or_default(), page.unwrap_or_default()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_configuration_that_is_read_is_shown_as_itself(
        server in server(),
        sites in proptest::collection::vec(site(), 1..5),
        listeners in proptest::collection::vec(0..3_u8, 0..5),
        default in 0..6_usize,
    ) {
        let mut text = server;
        text += "certificate = \"local\"\n";
        if text.matches("certificate = ").count() > 1 {
            text = text.replace("certificate = \"local\"\n", "");
        }
        for (number, role) in listeners.iter().enumerate() {
            let role = ["", "redirect = \"https\"\n", "tls = \"off\"\n"][usize::from(*role)];
            text += &format!("[[listen]]\naddress = [\":{}\", \"[::1]:{}\"]\n{role}", 1000 + number, 2000 + number);
        }
        if !listeners.is_empty() {
            text += "[[listen]]\naddress = \"localhost:1\"\n";
        }
        for (number, (hosts, site)) in sites.iter().enumerate() {
            let hosts: Vec<String> = (0..*hosts).map(|host| format!("\"h{host}-s{number}.localhost\"")).collect();
            let site = site.replace("h0.sN.", &format!("h0-s{number}."));
            text += &format!("[[site]]\nhosts = [{}]\ndefault = {}\n{site}", hosts.join(", "), number == default);
        }
        let folder = Folder::of(&text);
        let loaded = match load(&folder.file(), &[], None) {
            Ok(loaded) => loaded,
            Err(problems) => return Err(TestCaseError::fail(format!("{problems:?}\n{text}"))),
        };
        round_trip(&loaded);
    }
}
