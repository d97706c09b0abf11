//! The keys of a site.

use super::acme::OF_SITE;
use super::log::ACCESS_LOG;
use super::{BURST_MAX, CERTIFICATE_KEY, Form, HOSTS_MAX, KEY, Key, NETWORKS_MAX, PAGES_KEY, STATUSES};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "hosts",
        form: Form::Texts(HOSTS_MAX),
        example: "[\"example.com\", \"www.example.com\"]",
        doc: "The names that the site answers to: a name or a list of them. `*.example.com` stands for one \
              label more. Names with other letters than those of ASCII are written as A-labels (`xn--`). \
              IP addresses are allowed.",
        ..KEY
    },
    Key {
        name: "default",
        form: Form::Switch,
        default: Some("false"),
        example: "true",
        doc: "Whether the site answers to names that no site has. One site at most.",
        ..KEY
    },
    Key {
        name: "root",
        form: Form::Path,
        example: "\"/srv/www/example.tar\"",
        doc: "A pack, a tar archive or a folder.",
        ..KEY
    },
    Key {
        name: "redirect_to",
        form: Form::Text,
        example: "\"https://example.com\"",
        doc: "Redirects every request. Behind a host alone come the path and the query of the request; with \
              a path behind the host (a `/` is one), it is the whole target.",
        ..KEY
    },
    Key {
        name: "redirect_status",
        form: Form::Numbers(STATUSES),
        default: Some("308"),
        example: "301",
        doc: "The status of these redirects.",
        ..KEY
    },
    Key {
        name: "canonical",
        form: Form::Text,
        example: "\"example.com\"",
        doc: "The one of `hosts` to which the others redirect. It is no wildcard.",
        ..KEY
    },
    Key {
        doc: "The site's certificate: a table with `chain` and `key`, or a list of such tables, one for each \
              type of key; `\"acme\"` for one that sitar orders from an authority, as Let's Encrypt, and \
              renews; or `\"local\"` for the one that sitar makes for localhost. Without it: the server's; \
              else the local one, if the site has no hosts or those of this machine only.",
        ..CERTIFICATE_KEY
    },
    OF_SITE,
    Key {
        name: "hsts",
        form: Form::Text,
        example: "\"max-age=31536000; includeSubDomains\"",
        doc: "The value of the field Strict-Transport-Security (RFC 6797) of answers over TLS. Needs \
              `max-age`; `includeSubDomains` and `preload` may stand behind it.",
        ..KEY
    },
    Key {
        name: "prefix",
        form: Form::Text,
        example: "\"public\"",
        doc: "Serve only what lies below this folder of the archive or folder, as the root.",
        ..KEY
    },
    Key {
        name: "follow_links",
        form: Form::Switch,
        default: Some("false"),
        example: "true",
        doc: "Whether to serve what links in the folder lead to outside of it, too. Anyone who can put a \
              link into the folder then publishes any file that sitar may read.",
        ..KEY
    },
    Key {
        name: "serve_config_files",
        form: Form::Switch,
        default: Some("false"),
        example: "true",
        doc: "Whether to serve files at the root that configure other hosts of sites, such as `CNAME`.",
        ..KEY
    },
    Key {
        name: "watch",
        form: Form::Switch,
        default: Some("true"),
        example: "false",
        doc: "Whether changes of the site are served by themselves. Otherwise a reload reads it again.",
        ..KEY
    },
    Key {
        name: "poll",
        form: Form::Text,
        example: "\"2s\"",
        doc: "Look for changes this far apart, instead of waiting for the kernel's events.",
        ..KEY
    },
    Key {
        doc: "The site's pages for errors of the server. Those that it lacks are the server's.",
        ..PAGES_KEY
    },
    Key {
        name: "listing",
        form: Form::Switch,
        default: Some("false"),
        example: "true",
        doc: "Whether a folder without `index.html` is answered with a list of what is served in it, in HTML \
              or, for clients that prefer it, in JSON.",
        ..KEY
    },
    Key {
        name: "client_ca",
        form: Form::Path,
        example: "\"/etc/sitar/clients.pem\"",
        doc: "Certificates in PEM, one of which has to certify the clients of the site. Needs TLS. Is watched.",
        ..KEY
    },
    Key {
        name: "users",
        form: Form::Path,
        example: "\"/etc/sitar/example.htpasswd\"",
        doc: "A file of users, as `htpasswd -B` writes it: the site is for those who give the name and the \
              password of one (HTTP Basic). Hashes are those of bcrypt and SHA-crypt. A reload reads the \
              file again.",
        ..KEY
    },
    Key {
        name: "realm",
        form: Form::Text,
        default: Some("\"Restricted\""),
        example: "\"Staff\"",
        doc: "The name of what `users` protects, which browsers may show.",
        ..KEY
    },
    Key {
        name: "allow",
        form: Form::Texts(NETWORKS_MAX),
        example: "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
        doc: "The only networks that are answered; others get 403. A network is an address, an address with \
              the length of its prefix, or `\"unix\"` for clients on Unix sockets. ACME challenges over \
              plain HTTP are answered to everyone.",
        ..KEY
    },
    Key {
        name: "deny",
        form: Form::Texts(NETWORKS_MAX),
        example: "\"192.0.2.0/24\"",
        doc: "Networks that get 403, also where `allow` has them.",
        ..KEY
    },
    Key {
        name: "rate",
        form: Form::Text,
        example: "\"20/s\"",
        doc: "Requests that each address may send in a second (`s`), a minute (`m`) or an hour (`h`); others \
              get 429 with Retry-After. An address of IPv6 is its first 64 bits. Without it, as many as it \
              likes.",
        ..KEY
    },
    Key {
        name: "burst",
        form: Form::Number(1, BURST_MAX),
        example: "40",
        doc: "Requests that an address may send at once. Without it: twice the number of `rate`.",
        ..KEY
    },
    ACCESS_LOG,
];
