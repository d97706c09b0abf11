//! Names that other servers have for what a key does here, and names that mean nothing yet.

use super::keys::{self, Form, Key, Table};
use super::nearest::nearest;
use super::problems::count_words;

/// Names of other servers, the key whose place they take where one is required, and what to write.
const FOREIGN: &[(&[&str], &str, &str)] = &[
    (
        &[
            "server_name",
            "servername",
            "server_alias",
            "serveralias",
            "server_names",
            "domain",
            "domains",
            "name",
            "names",
            "alias",
            "aliases",
            "hostname",
            "hostnames",
        ],
        "hosts",
        "the names of a site are its hosts: hosts = [\"example.com\"]",
    ),
    (
        &[
            "ssl_certificate",
            "ssl_cert",
            "sslcertificatefile",
            "tls_cert",
            "cert",
            "certs",
            "certificates",
            "ssl_certificate_key",
            "tls_key",
            "sslcertificatekeyfile",
            "key_file",
            "cert_file",
        ],
        "certificate",
        "write: certificate = { chain = \"fullchain.pem\", key = \"privkey.pem\" }",
    ),
    (&["no_http2"], "http2", "write: http2 = false"),
    (&["http1_only", "disable_http2", "h2"], "", "HTTP/2 is spoken unless http2 = false"),
    (&["no_watch"], "", "write: watch = false"),
    (
        &[
            "document_root",
            "documentroot",
            "docroot",
            "webroot",
            "dir",
            "directory",
            "folder",
            "path",
            "public",
            "file_server",
            "archive",
            "tar",
        ],
        "root",
        "the site's archive or folder is its root: root = \"/srv/www/site.tar\"",
    ),
    (
        &[
            "port",
            "ports",
            "bind",
            "host_port",
            "addr",
            "listen_address",
            "http_port",
            "https_port",
            "addresses",
        ],
        "address",
        "addresses stand in [[listen]]: address = \":443\"",
    ),
    (&["worker_processes", "workers", "threads", "worker_threads"], "", "write: shards = 4"),
    (
        &["worker_connections", "max_connections", "maxclients", "maxrequestworkers"],
        "",
        "write: connections = 8192",
    ),
    (
        &["keepalive_timeout", "keepalivetimeout", "idle_timeout", "keep_alive"],
        "",
        "write: idle_seconds = 60",
    ),
    (
        &["client_header_timeout", "client_body_timeout", "read_timeout", "requestreadtimeout", "timeout"],
        "",
        "write: head_seconds = 10",
    ),
    (&["send_timeout", "write_timeout"], "", "write: send_seconds = 30"),
    (
        &["ssl_protocols", "sslprotocol", "tls_version", "min_version", "protocols"],
        "",
        "the oldest version of TLS is given in [server]: min_tls = \"1.2\"",
    ),
    (
        &["error_page", "errordocument", "error_pages", "handle_errors"],
        "",
        "pages for 500 and 503: pages = { 503 = \"503.html\" }; the page for 404 is the site's file 404.html",
    ),
    (
        &["return", "redir", "rewrite", "redirects", "redirect_permanent"],
        "redirect_to",
        "the whole site: redirect_to = \"https://example.com\"; parts of it: lines in the site's file _redirects",
    ),
    (
        &["add_header", "header", "headers", "expires", "cache_control"],
        "",
        "lines in the site's file _headers do that",
    ),
    (
        &["location", "try_files", "index", "directoryindex", "fallback"],
        "",
        "the site's file _redirects does that, as in: /* /index.html 200",
    ),
    (&["strict_transport_security", "hsts_max_age"], "", "write: hsts = \"max-age=31536000\""),
    (&["default_server"], "default", "write: default = true"),
    (
        &["gzip", "brotli", "zstd", "encode", "compression", "brotli_static", "gzip_static"],
        "",
        "what is compressed is packed first: sitar pack DIR -o site.tar",
    ),
    (&["follow_symlinks", "disable_symlinks", "symlinks"], "", "write: follow_links = true"),
    (
        &[
            "letsencrypt",
            "lets_encrypt",
            "certbot",
            "auto_https",
            "automatic_https",
            "cert_resolver",
            "certresolver",
        ],
        "certificate",
        "a site whose certificate comes from Let's Encrypt has: certificate = \"acme\"",
    ),
    (
        &["email", "mail", "acme_email", "contacts"],
        "contact",
        "the address that the authority may write to: [acme] contact = \"webmaster@example.com\"",
    ),
    (
        &["acme_ca", "acme_server", "acme_directory", "caserver", "ca_server"],
        "directory",
        "the authority is named by its directory: [acme] directory = \"https://acme.example.com/directory\"",
    ),
    (
        &["acme_ca_root", "acme_root", "trusted_roots"],
        "ca",
        "what certifies the server of the authority: [acme] ca = \"authority.pem\"",
    ),
    (
        &["agree", "agreed", "accept_tos", "accept_terms", "agree_to_terms", "tos", "terms"],
        "agree_tos",
        "to agree to the terms of the authority: [acme] agree_tos = true",
    ),
    (
        &["key_type", "keytype", "key_types", "key_algorithm"],
        "keys",
        "types of keys are listed by: acme = { keys = [\"p256\", \"rsa\"] }",
    ),
    (
        &["challenge", "http_challenge", "httpchallenge", "tls_challenge", "tlschallenge"],
        "challenges",
        "challenges are listed in order of preference: acme = { challenges = [\"http-01\", \"tls-alpn-01\"] }",
    ),
    (
        &["dns", "dns_challenge", "dnschallenge", "acme_dns", "dns_provider", "dns_hook", "manual_auth_hook"],
        "dns_command",
        "a program of yours changes the records: [acme] dns_command = \"/usr/local/lib/sitar/nsupdate.sh\"",
    ),
    (
        &["external_account_binding", "externalaccountbinding", "acme_eab"],
        "eab",
        "an external account binding is written: [acme] eab = { kid = \"kid-1\", key_file = \"eab.key\" }",
    ),
    (
        &["autoindex", "directory_listing", "dirlisting", "browse"],
        "listing",
        "folders without a page are listed by: listing = true",
    ),
    (
        &["auth_basic", "auth_basic_user_file", "basic_auth", "basicauth", "authuserfile"],
        "users",
        "write: users = \"example.htpasswd\"",
    ),
    (&["limit_req", "rate_limit", "limit"], "rate", "write: rate = \"20/s\""),
    (
        &["ssl_client_certificate", "ssl_verify_client", "sslcacertificatefile", "client_auth", "trust_pool"],
        "client_ca",
        "clients need a certificate with: client_ca = \"clients.pem\"",
    ),
    (
        &["log", "logs", "logging", "customlog", "access_logs"],
        "access_log",
        "requests are logged with: access_log = \"/var/log/sitar/access.log\", or [log] for all sites",
    ),
    (&["error_log", "errorlog"], "", "standard error reports changes and faults"),
    (
        &["user", "group", "run_as"],
        "",
        "the user that serves is a key of the server: [server] user = \"sitar\"",
    ),
    (&["proxy_pass", "reverse_proxy", "upstream"], "", "requests are not passed on to other servers"),
];

/// The tables whose keys an operator may have put elsewhere.
const TABLES: [&Table; 6] =
    [&keys::SITE, &keys::SERVER, &keys::LISTEN, &keys::LOG, &keys::ADMIN, &keys::ACME];

/// What may have been meant.
pub(super) struct Instead {
    pub(super) hint: Option<String>,
    /// The key of the same table that was meant.
    pub(super) key: Option<&'static Key>,
}

/// Returns what to write in the place of a key that the table does not have.
pub(super) fn instead(word: &str, table: &'static Table) -> Instead {
    count_words();
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let near = nearest(word, table.keys.iter().map(|key| key.name));
    let is_same = |name: &str| name.trim_end_matches('s') == lower.trim_end_matches('s');
    let (hint, key) = if let Some(name) = near.filter(|name| is_same(name)) {
        (Some(did_you_mean(table, name)), table.key(name))
    } else if let Some((_, key, hint)) = FOREIGN.iter().find(|(words, ..)| words.contains(&&*lower)) {
        (Some((*hint).to_owned()), table.key(key))
    } else if let Some(hint) = place(&lower, table) {
        (Some(hint), None)
    } else if let Some(name) = near {
        (Some(did_you_mean(table, name)), table.key(name))
    } else {
        (elsewhere(word, table), None)
    };
    Instead { hint, key }
}

/// Returns where a key belongs that another table has.
fn place(name: &str, table: &'static Table) -> Option<String> {
    let is_file = table.name == keys::FILE.name;
    if let Some(key) = keys::FILE.key(name).filter(|_| !is_file) {
        return Some(match key.form {
            _ if table.name == keys::INCLUDED.name => {
                "an included file holds [[site]] and [[listen]] only".to_owned()
            }
            Form::Table(inner) | Form::Tables(inner, _) => format!("{} is a table of its own", inner.name),
            _ => "it stands at the top of the file, before the first table".to_owned(),
        });
    }
    let other = TABLES.into_iter().find(|other| other.name != table.name && other.key(name).is_some())?;
    Some(match is_file {
        true => format!("it belongs to {}, and stands below that line", other.name),
        false => format!("it belongs to {}", other.name),
    })
}

/// Returns the nearest key of another table.
fn elsewhere(word: &str, table: &'static Table) -> Option<String> {
    // Two letters are like too many of them.
    if word.len() < 3 {
        return None;
    }
    let others = || TABLES.into_iter().filter(|other| other.name != table.name);
    let name = nearest(word, others().flat_map(|other| other.keys.iter().map(|key| key.name)))?;
    let other = others().find(|other| other.key(name).is_some())?;
    Some(format!("did you mean '{name}' of {}?", other.name))
}

fn did_you_mean(table: &'static Table, name: &str) -> String {
    let is_header = [&keys::FILE, &keys::INCLUDED].iter().any(|file| file.name == table.name);
    match table.key(name).map(|key| key.form) {
        Some(Form::Table(inner) | Form::Tables(inner, _)) if is_header => {
            format!("did you mean {}?", inner.name)
        }
        _ => format!("did you mean '{name}'?"),
    }
}
