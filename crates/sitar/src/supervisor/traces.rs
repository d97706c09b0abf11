//! A client's connection, on its way to the worker that writes a trace to it.

use std::os::fd::BorrowedFd;

use serde_json::Value;

use super::Supervisor;
use super::child::gone;
use crate::error::Error;
use crate::handover;
use crate::trace::Spec;

impl Supervisor {
    /// Has the worker that serves write a trace to a client's connection.
    ///
    /// # Errors
    /// There is none, or it does not.
    pub(super) fn trace(&self, spec: &Spec, client: BorrowedFd<'_>) -> Result<(), Error> {
        let worker = self.live().worker.clone();
        let worker = worker.ok_or_else(|| Error::new("no worker serves now"))?;
        let answer = worker.ask_trace(&spec.to_json(), client).map_err(|error| gone(&error))?;
        match answer.get("refused").and_then(Value::as_str) {
            Some(why) => Err(Error::new(handover::said(why))),
            None => Ok(()),
        }
    }
}
