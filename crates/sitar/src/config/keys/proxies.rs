//! The key of `[server]` about proxies in front.

use super::{Form, KEY, Key, NETWORKS_MAX};

pub(super) const TRUSTED_PROXIES: Key = Key {
    name: "trusted_proxies",
    form: Form::Texts(NETWORKS_MAX),
    example: "[\"10.0.0.0/8\", \"unix\"]",
    doc: "Proxies whose fields `Forwarded` and `X-Forwarded-For` are believed: networks, addresses, or \
          `unix` for those that connect to a Unix socket. `rate`, and the limit on wrong passwords, then \
          count the last address there that is none of these, instead of the proxy's. Where both fields \
          are sent they have to agree: a proxy should remove the one that it does not write. `allow` and \
          `deny` never look at them.",
    ..KEY
};
