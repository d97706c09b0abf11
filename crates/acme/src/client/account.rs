//! Accounts (RFC 8555 §7.3), and the revocation of certificates (§7.6).

use serde_json::{Value, json};

use super::{Client, going_on};
use crate::base64::url;
use crate::jws::AccountKey;
use crate::outside::Outside;
use crate::plan::Authority;
use crate::problem::{Failure, Kind, Problem};

impl Client {
    /// Opens an account, or finds the one that the key has already, and returns its URL.
    ///
    /// # Errors
    /// The operator has not agreed to the terms, or the authority refuses.
    pub fn open_account(
        &mut self,
        authority: &Authority,
        outside: &mut dyn Outside,
    ) -> Result<String, Failure> {
        self.may_open_account(authority)?;
        let mut account = json!({ "contact": authority.contact, "termsOfServiceAgreed": authority.agrees });
        if let Some(eab) = &authority.eab {
            account["externalAccountBinding"] = self.key.bind(eab, &self.directory.new_account);
        }
        self.register(&account, outside)
    }

    /// Checks that nothing is missing of what the authority's directory asks for.
    ///
    /// # Errors
    /// The operator has not agreed to the terms, or has named no external account.
    pub(crate) fn may_open_account(&self, authority: &Authority) -> Result<(), Failure> {
        if let (Some(terms), false) = (&self.directory.terms, authority.agrees) {
            let what = format!("the authority's terms have not been agreed to: {terms}");
            return Err(Failure::new(Kind::Refused(Problem::UserActionRequired), what)
                .with_hint("read them, then: agree_tos = true in [acme], or --acme-agree-tos"));
        }
        if authority.eab.is_none() && self.directory.wants_eab {
            let what = "the authority wants its accounts bound to one of its customers'";
            return Err(Failure::new(Kind::Refused(Problem::ExternalAccountRequired), what)
                .with_hint("set the key identifier and the key that it gives out (EAB)"));
        }
        Ok(())
    }

    /// Finds the account of the key, without opening one; returns its URL.
    ///
    /// # Errors
    /// As of any request. That there is none is no error.
    pub fn find_account(&mut self, outside: &mut dyn Outside) -> Result<Option<String>, Failure> {
        match self.register(&json!({ "onlyReturnExisting": true }), outside) {
            Ok(account) => Ok(Some(account)),
            Err(failure) if failure.is(Problem::AccountDoesNotExist) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn register(&mut self, account: &Value, outside: &mut dyn Outside) -> Result<String, Failure> {
        let to = self.directory.new_account.clone();
        let response = self.post_raw(&to, &account.to_string(), false, outside)?;
        let found = super::Answer { response, json: Value::Null }.location()?;
        self.account = Some(found.clone());
        Ok(found)
    }

    /// Replaces the addresses that the authority may write to.
    ///
    /// # Errors
    /// As of any request.
    pub fn update_contact(&mut self, contact: &[String], outside: &mut dyn Outside) -> Result<(), Failure> {
        self.change_account(&json!({ "contact": contact }), outside)
    }

    /// Agrees to terms that have changed (RFC 8555 §7.3.3). The operator has to have done so.
    ///
    /// # Errors
    /// As of any request.
    pub fn agree(&mut self, outside: &mut dyn Outside) -> Result<(), Failure> {
        self.change_account(&json!({ "termsOfServiceAgreed": true }), outside)
    }

    /// Gives the account up (RFC 8555 §7.3.6): there is no way back.
    ///
    /// # Errors
    /// As of any request.
    pub fn deactivate(&mut self, outside: &mut dyn Outside) -> Result<(), Failure> {
        self.change_account(&json!({ "status": "deactivated" }), outside)
    }

    fn change_account(&mut self, change: &Value, outside: &mut dyn Outside) -> Result<(), Failure> {
        let account = self.account.clone().unwrap_or_default();
        self.post(&account, &change.to_string(), outside).map(|_| ())
    }

    /// Replaces the key of the account (RFC 8555 §7.3.5), and uses the new one from then on.
    ///
    /// # Errors
    /// As of any request; then the old key stays in use. Where the answer was lost, either may be
    /// the right one: [`find_account`](Client::find_account) knows.
    pub fn change_key(&mut self, new: AccountKey, outside: &mut dyn Outside) -> Result<(), Failure> {
        let Some(to) = self.directory.key_change.clone() else {
            return Err(Failure::garbage("the authority does not replace keys"));
        };
        going_on(outside)?;
        let change = json!({ "account": self.account, "oldKey": self.key.jwk_value() });
        let inner = new.sign(None, None, &to, &change.to_string())?;
        self.post(&to, &inner, outside)?;
        self.key = new;
        Ok(())
    }

    /// Revokes a certificate, which is given in DER, by the account that has ordered it. `reason`
    /// is one of RFC 5280 §5.3.1. That it has been revoked before is no error.
    ///
    /// # Errors
    /// As of any request.
    pub fn revoke(
        &mut self,
        certificate: &[u8],
        reason: u8,
        outside: &mut dyn Outside,
    ) -> Result<(), Failure> {
        let Some(to) = self.directory.revoke.clone() else {
            return Err(Failure::garbage("the authority does not revoke certificates"));
        };
        let request = json!({ "certificate": url(certificate), "reason": reason }).to_string();
        match self.post_raw(&to, &request, true, outside) {
            Err(failure) if !failure.is(Problem::AlreadyRevoked) => Err(failure),
            _ => Ok(()),
        }
    }
}
