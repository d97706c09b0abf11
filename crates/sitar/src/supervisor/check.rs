//! `sitar config check`.

use super::certificates::{self, Purpose};
use super::{addresses, bound, user};
use crate::config::{self, Config, Problem};
use crate::handover::{Found, in_order};
use crate::serve::attempt::Machine;
use crate::{admin, cache, log, metrics, worker};

/// Opens everything that a start would open, changes nothing, and closes it again. Returns what a
/// start would warn of.
///
/// # Errors
/// Everything that a start would refuse.
pub(crate) fn check(config: &Config) -> Result<Vec<String>, Vec<Problem>> {
    let whole = config::Place { file: config.file.as_path().into(), line: 0, column: 0 };
    let certificates::Read { notes, warnings, mut found, certificates, .. } =
        certificates::read(config, &Purpose::Check);
    let mut told: Vec<String> = notes;
    told.extend(warnings.into_iter().map(|warning| warning.text));
    if let Err(error) = user::of_worker(config.user.as_deref()) {
        found.push(Found::of_all(config::problem(&whole, &error)));
    }
    match worker::try_sites(config) {
        Ok(warnings) => told.extend(warnings),
        Err(more) => found.extend(more),
    }
    found.extend(cache::problems(config));
    if found.is_empty()
        && let Err(error) = certificates.try_together(config)
    {
        found.push(Found::of_all(config::problem(&whole, &error)));
    }
    let mut problems = in_order(found);
    problems.extend(log::open::check(config));
    problems.extend(bound::try_addresses(config).err().unwrap_or_default());
    let machine = Machine::of_this_process(&config.settings, addresses(config), config.opened());
    match machine.telling_peers(config.needs_peers()).receiving(config.passed()).choose() {
        Ok(mode) => told.extend(mode.note),
        Err(error) => problems.push(config::problem(&whole, &error)),
    }
    let admin = config.admin_socket.as_deref().map(admin::check).transpose();
    problems.extend(admin.err().map(|error| config::problem(&whole, &error)));
    if let Some(listen) = &config.admin_listen {
        problems.extend(metrics::check(listen).err().map(|error| config::problem(&whole, &error)));
        told.extend(metrics::reach(listen));
    }
    if problems.is_empty() { Ok(told) } else { Err(problems) }
}
