//! The keys of a listener.

use super::{ADDRESSES_MAX, Form, KEY, Key, NETWORKS_MAX, Table};

fn off() -> Vec<(&'static str, &'static str)> {
    vec![("off", "Plain HTTP that serves sites, for instance behind a proxy that terminates TLS")]
}

fn https() -> Vec<(&'static str, &'static str)> {
    vec![("https", "Plain HTTP that only redirects to https, ACME challenges excepted")]
}

/// `[[listen]]`.
pub(crate) static LISTEN: Table = Table {
    name: "[[listen]]",
    doc: "One or more addresses. Without `redirect` and `tls`, HTTPS is served there. Without any \
          `[[listen]]`, sitar serves HTTPS on port 8443, or plain HTTP on port 8080 with `tls = \"off\"` in \
          `[server]`: on every address if a site has another certificate than the local one, else on \
          loopback only.",
    keys: &[
        Key {
            name: "address",
            form: Form::Texts(ADDRESSES_MAX),
            example: "\":443\"",
            doc: "An address, or a list of them. A port alone (`\":443\"`) is every address of the machine, \
                  IPv6 and IPv4; `\"localhost:8443\"` is both of loopback; `\"192.0.2.1:443\"` and \
                  `\"[2001:db8::1]:443\"` are one each. `\"systemd:https\"` stands for the sockets that \
                  systemd passes whose units have `FileDescriptorName=https`. \
                  `\"unix:/run/sitar/http.sock\"` is a Unix socket, whose path may be relative to the \
                  folder of the file. `\"passed:/run/sitar/pass.sock\"` is one over which another process, \
                  as a router by server name, passes connections that it has accepted. Required.",
            ..KEY
        },
        Key {
            name: "redirect",
            form: Form::Word(https),
            example: "\"https\"",
            doc: "Plain HTTP that answers with redirects to https (308), ACME challenges excepted. Another \
                  listener has to speak TLS.",
            ..KEY
        },
        Key {
            name: "tls",
            form: Form::Word(off),
            example: "\"off\"",
            doc: "Plain HTTP that serves the sites, for instance behind a proxy that terminates TLS.",
            ..KEY
        },
        Key {
            name: "mode",
            form: Form::Text,
            default: Some("\"0660\""),
            example: "\"0666\"",
            doc: "Permissions of the Unix sockets among the addresses, in octal. Without it those for \
                  passed connections have `\"0600\"`.",
            ..KEY
        },
        Key {
            name: "proxy_protocol",
            form: Form::Texts(NETWORKS_MAX),
            example: "[\"10.0.0.0/8\", \"unix\"]",
            doc: "The proxies that begin each connection with a header of the PROXY protocol (version 1 \
                  or 2), which names their client: networks, addresses, or `unix` for those that \
                  connect to a Unix socket. They have to send it, before TLS; from others it is no \
                  valid request.",
            ..KEY
        },
    ],
};
