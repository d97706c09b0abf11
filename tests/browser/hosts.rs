//! Several sites on one address, two of them with one certificate: whichever connections a browser
//! uses for which, each gets what is its own.

use super::{key_hash, visit};
use crate::common::site::write;
use crate::common::{Server, have};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// Loads files of all sites, in parallel and one after the other, as parts of the page and then
/// without the client's credentials, which takes connections of their own; then says what came.
///
/// Chromium 148 has one connection for the two sites that share a certificate where it knows that
/// both speak HTTP/2, which are the loads without credentials here: its record of the network says
/// HTTP2_SESSION_POOL_FOUND_EXISTING_SESSION_FROM_IP_POOL once in each visit.
const PAGE: &str = "<!doctype html><link rel=icon href='data:,'><body><script>
const names = ['one', 'two', 'three'], said = [];
const load = (name, round) => new Promise((done, failed) => {
    const script = document.createElement('script');
    script.src = `https://${name}.test:${location.port}/name.js?${round}`;
    script.onload = () => done(name + '=' + script.told);
    script.onerror = () => done(name + '=error');
    document.head.append(script);
});
const ask = async (name, round) => {
    const answer = await fetch(`https://${name}.test:${location.port}/name.txt?${round}`, {credentials: 'omit'});
    return name + '=' + answer.status + await answer.text();
};
const all = async () => {
    said.push('NAME');
    for (const round of [1, 2]) {
        for (const name of names) said.push(await load(name, round));
        said.push(...await Promise.all(names.map(name => load(name, round + 'p'))));
        for (const name of names) said.push(await ask(name, round));
    }
    return said.join(' ');
};
all().then(said => document.title = said);
</script>";

const CONFIG: &str = r#"
[server]
certificate = { chain = "shared.pem", key = "shared.key" }

[[listen]]
address = "127.0.0.1:0"

[[site]]
hosts = "one.test"
root = "one"

[[site]]
hosts = "two.test"
root = "two"

[[site]]
hosts = "three.test"
root = "three"
certificate = { chain = "own.pem", key = "own.key" }
"#;

#[test]
fn chromium_gets_each_sites_own_content() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for name in ["one", "two", "three"] {
        write(path, &format!("{name}/index.html"), PAGE.replace("NAME", name));
        write(path, &format!("{name}/name.txt"), name);
        write(path, &format!("{name}/name.js"), format!("document.currentScript.told = '{name}'"));
        write(path, &format!("{name}/_headers"), "/*\n  Access-Control-Allow-Origin: *\n");
    }
    let mut keys = Vec::new();
    for (file, names) in [("shared", &["one.test", "two.test"][..]), ("own", &["three.test"])] {
        let key = KeyPair::generate().unwrap();
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        write(path, &format!("{file}.pem"), certificate.pem());
        write(path, &format!("{file}.key"), key.serialize_pem());
        keys.push(key_hash(key.public_key_pem().as_bytes()));
    }
    write(path, "sitar.toml", CONFIG);
    let server = Server::start_configured(&path.join("sitar.toml"));
    let rules = "--host-resolver-rules=MAP *.test 127.0.0.1";
    let keys = keys.join(",");
    let scripts = "one=one two=two three=three";
    let round = format!("{scripts} {scripts} one=200one two=200two three=200three");
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let url = format!("https://{name}.test:{}/", server.address().port());
            let (keys, round) = (&keys, &round);
            scope.spawn(move || {
                let seen = visit(&url, keys, &[rules, "--dump-dom"]);
                assert_eq!(seen.complaints(), [""; 0], "{}", seen.stderr);
                let title = format!("<title>{name} {round} {round}</title>");
                assert!(seen.stdout.contains(&title), "{title}\n{}", seen.stdout);
            });
        }
    });
}
