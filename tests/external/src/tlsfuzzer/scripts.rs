//! The scripts that apply, and the probes that do not pass, with reasons.

/// A script of tlsfuzzer's.
pub(super) struct Script {
    /// The part of its file's name between `test-` and `.py`.
    pub(super) name: &'static str,
    /// Arguments beside host and port.
    pub(super) args: &'static [&'static str],
    /// Parts of the names of probes that do not pass, each with its reason.
    pub(super) exceptions: &'static [(&'static str, &'static str)],
}

/// TLS 1.2 with the one kind of suite that both sides know: by default the scripts offer CBC and
/// RSA key exchange.
const GCM: &[&str] = &["-C", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
const GCM_D: &[&str] = &["-d", "-C", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];

const TOO_LARGE: &str =
    "a ClientHello above 32 KiB is refused: no client needs one, and it would be kept for each connection";
const NO_CURVE: &str = "X448 and P-521 are not offered";
const NO_CCM: &str = "CCM is not offered";
const NO_FFDHE: &str = "finite field groups are not offered";
const RUSTLS: &str = "rustls says decrypt_error to a Finished of the wrong length";
const NO_TICKET: &str = "the client names no psk_key_exchange_modes, so it gets no ticket (RFC 8446 §4.2.9)";
const NO_EARLY: &str = "no ticket of this server's allows early data, so none is skipped \
    (RFC 8446 §4.2.10: up to the configured size, which is 0)";

const fn clean(name: &'static str, args: &'static [&'static str]) -> Script {
    Script { name, args, exceptions: &[] }
}

const fn script(name: &'static str, exceptions: &'static [(&'static str, &'static str)]) -> Script {
    Script { name, args: &[], exceptions }
}

/// All scripts, in the order in which they run. Scripts are left out that are about things which
/// are not offered at all: client certificates, CBC, RSA and finite-field key exchange, heartbeats,
/// SSL 2 and 3, brainpool, DSA, EdDSA and ML-DSA keys, OCSP stapling, record size limits,
/// certificate compression. So are scripts that need a server which takes their orders.
pub(super) const SCRIPTS: &[Script] = &[
    clean("tls13-conversation", &[]),
    clean("tls13-keyupdate", &[]),
    clean("tls13-ccs", &[]),
    clean("tls13-record-padding", &[]),
    clean("tls13-zero-length-data", &[]),
    clean("tls13-zero-content-type", &[]),
    clean("tls13-empty-alert", &[]),
    clean("tls13-unencrypted-alert", &[]),
    clean("tls13-hrr", &[]),
    script("tls13-connection-abort", &[("After NewSessionTicket", NO_TICKET)]),
    clean("tls13-count-tickets", &[]),
    clean("tls13-nociphers", &[]),
    clean("tls13-invalid-ciphers", &[]),
    script(
        "tls13-dhe-shared-secret-padding",
        &[("ffdhe", NO_FFDHE), ("secp521r1", NO_CURVE), ("x448", NO_CURVE)],
    ),
    script(
        "tls13-multiple-ccs-messages",
        &[("CCS", "a second one is dropped like the first (RFC 8446 §5), where the probe wants an alert")],
    ),
    script("tls13-finished", &[("padding", RUSTLS), ("truncation", RUSTLS), ("empty", RUSTLS)]),
    script(
        "tls13-finished-plaintext",
        &[("Unencrypted Finished", "what cannot be decrypted is answered by bad_record_mac (RFC 8446 §6.2)")],
    ),
    script("tls13-record-layer-limits", &[("max size payload (2**14) of Finished", RUSTLS)]),
    script(
        "tls13-keyshare-omitted",
        &[("key_share extension omitted", "rustls says handshake_failure instead of missing_extension")],
    ),
    script(
        "tls13-large-number-of-extensions",
        &[
            ("61464 to 65535", "an empty encrypted_client_hello (65037) cannot be parsed"),
            (
                "from 2 to 4119",
                "an empty certificate_authorities (47) or client_certificate_type (19) cannot be parsed",
            ),
            ("random payload", TOO_LARGE),
        ],
    ),
    script(
        "tls13-legacy-version",
        &[("version (", "with supported_versions, legacy_version means nothing (RFC 8446 §4.2.1)")],
    ),
    script(
        "tls13-no-unknown-groups",
        &[("4356 and 4611", "X25519MLKEM768 (4588) is among the unknown, and is asked for")],
    ),
    script("tls13-unrecognised-groups", &[("ffdhe2048", NO_FFDHE), ("key_share of size", TOO_LARGE)]),
    script("tls13-0rtt-garbage", &[("invalid 0-RTT", NO_EARLY)]),
    script(
        "tls13-session-resumption",
        &[
            ("PSK_ONLY", "resumption without a key exchange is not offered, so such a client gets no ticket"),
            ("TLS 1.2", "no suite in common: the probe offers RSA key exchange"),
        ],
    ),
    script("tls13-ecdhe-curves", &[("secp521r1", NO_CURVE), ("x448", NO_CURVE)]),
    script(
        "tls13-crfg-curves",
        &[("x448", NO_CURVE), ("empty x25519", "a key share without content cannot be parsed: decode_error")],
    ),
    script("tls13-symetric-ciphers", &[("CCM", NO_CCM)]),
    script("tls13-serverhello-random", &[("ffdhe", NO_FFDHE), ("secp521r1", NO_CURVE), ("x448", NO_CURVE)]),
    script(
        "tls13-signature-algorithms",
        &[
            ("schemes", TOO_LARGE),
            ("methods", TOO_LARGE),
            ("sigalgs", "the alert comes behind the ServerHello, where rustls looks for a scheme"),
        ],
    ),
    script(
        "tls13-pkcs-signature",
        &[("rsa_pkcs1", "the alert comes behind the ServerHello, where rustls looks for a scheme")],
    ),
    script(
        "tls13-rsa-signatures",
        &[("rsa_pss_pss", "the alert comes behind the ServerHello, where rustls looks for a scheme")],
    ),
    clean("conversation", GCM_D),
    clean("connection-abort", GCM_D),
    clean("ccs", GCM_D),
    clean("zero-length-data", GCM_D),
    clean("version-numbers", GCM_D),
    clean("early-application-data", GCM_D),
    clean("hello-request-by-client", GCM_D),
    clean("interleaved-CKE-with-CCS", GCM),
    clean("invalid-compression-methods", GCM_D),
    clean("invalid-content-type", GCM_D),
    Script {
        name: "invalid-client-hello-w-record-overflow",
        args: GCM_D,
        exceptions: &[(
            "type fuzz",
            "what cannot be parsed as the message that it claims to be is a decode_error",
        )],
    },
    Script {
        name: "point-extension",
        args: GCM,
        exceptions: &[("present in server hello", "ec_point_formats may be left out (RFC 8422 §5.2)")],
    },
    Script {
        name: "record-layer-fragmentation",
        args: GCM_D,
        exceptions: &[("32768B extension", TOO_LARGE), ("65385B extension", TOO_LARGE)],
    },
    Script {
        name: "renegotiation-disabled",
        args: &["-d", "-C", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "--no-renego-close"],
        exceptions: &[],
    },
    clean("cve-2004-0079", GCM),
    clean("cve-2016-6309", GCM_D),
    clean("sslv2-force-cipher", &[]),
];
