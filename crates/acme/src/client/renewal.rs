//! When a certificate had better be renewed (RFC 9773).

use std::time::SystemTime;

use super::{Client, get, parse};
use crate::json::Json;
use crate::outside::Outside;
use crate::problem::{Failure, printable};
use crate::time::{retry_after, rfc3339};

/// What an authority says about the renewal of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// The begin of the time in which it is to be renewed.
    pub start: SystemTime,
    /// The end of that.
    pub end: SystemTime,
    /// Where it is explained; safe to show.
    pub explanation: Option<String>,
    /// When it may be asked again; `None`: it has not said.
    pub again: Option<SystemTime>,
}

impl Client {
    /// Asks when a certificate had better be renewed. `id` is its [`certificate_id`]. `None`: the
    /// authority says nothing of renewals.
    ///
    /// [`certificate_id`]: crate::certificate_id
    ///
    /// # Errors
    /// As of any request, or the answer makes no sense.
    pub fn renewal_info(
        &mut self,
        id: &str,
        outside: &mut dyn Outside,
    ) -> Result<Option<RenewalInfo>, Failure> {
        let Some(base) = &self.directory.renewal_info else { return Ok(None) };
        let to = [base.trim_end_matches('/'), "/", id].concat();
        let response = get(&mut *self.transport, &to, outside)?;
        let value = parse(&response)?;
        let json = Json::new(&value);
        let window = json.get("suggestedWindow");
        let time = |name| window.and_then(|window| window.text(name)).and_then(rfc3339);
        let (Some(start), Some(end)) = (time("start"), time("end")) else {
            return Err(Failure::garbage("the authority's time for a renewal cannot be read"));
        };
        if start > end {
            return Err(Failure::garbage("the authority's time for a renewal ends before it begins"));
        }
        let now = outside.now();
        let again = response.field("retry-after").and_then(|field| retry_after(field, now));
        let explanation = json.text("explanationURL").map(printable);
        Ok(Some(RenewalInfo { start, end, explanation, again }))
    }
}
