//! The directory of an authority (RFC 8555 §7.1.1).

use serde_json::Value;

use crate::http::Url;
use crate::json::Json;
use crate::problem::{Failure, printable};

/// The most profiles that are known of an authority.
const PROFILES_MAX: usize = 64;

/// What an authority says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub(crate) new_nonce: String,
    pub(crate) new_account: String,
    pub(crate) new_order: String,
    pub(crate) revoke: Option<String>,
    pub(crate) key_change: Option<String>,
    pub(crate) renewal_info: Option<String>,
    /// Where its terms of service can be read; safe to show.
    pub terms: Option<String>,
    /// Accounts have to be bound to one that the operator has there already.
    pub wants_eab: bool,
    /// The names of its profiles (draft-ietf-acme-profiles), in the order of the alphabet.
    pub profiles: Vec<String>,
}

impl Directory {
    /// Reads a directory, whose URLs all begin with `https://`.
    pub(crate) fn read(value: &Value) -> Result<Directory, Failure> {
        let json = Json::new(value);
        let optional = |name: &str| match json.text(name) {
            Some(url) => Url::parse(url).map(|_| Some(url.to_owned())),
            None => Ok(None),
        };
        let needed = |name: &str| {
            let missing = || Failure::garbage(format!("the authority's directory has no {name}"));
            optional(name).and_then(|url| url.ok_or_else(missing))
        };
        let meta = json.get("meta");
        let profiles = meta.and_then(|meta| meta.get("profiles")).map(Json::names).unwrap_or_default();
        Ok(Directory {
            new_nonce: needed("newNonce")?,
            new_account: needed("newAccount")?,
            new_order: needed("newOrder")?,
            revoke: optional("revokeCert")?,
            key_change: optional("keyChange")?,
            renewal_info: optional("renewalInfo")?,
            terms: meta.and_then(|meta| meta.text("termsOfService")).map(printable),
            wants_eab: meta.is_some_and(|meta| meta.is_true("externalAccountRequired")),
            profiles: profiles.into_iter().take(PROFILES_MAX).map(printable).collect(),
        })
    }
}
