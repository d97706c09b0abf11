//! seccomp: a filter of system calls for all threads.
//!
//! It does not see what rings do, which their restrictions and Landlock bound. A call that is not
//! in the list is counted and ends with EPERM; `strict` ends the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};
use sitar_io::{Errno, probe, refused};

use super::calls::{Lists, Only, Row};
use super::{Layers, Policy};
use crate::events;

/// Holds all threads of this process to the lists. Returns whether it does.
pub(super) fn seal(policy: Policy, lists: &Lists, layers: &mut Layers) -> bool {
    let sealed = filters(policy, lists).and_then(|filters| install(policy, &filters));
    match &sealed {
        Ok(()) => layers.stands("seccomp"),
        Err(why) => layers.lacks("seccomp", why),
    }
    sealed.is_ok()
}

fn install(policy: Policy, filters: &[BpfProgram]) -> Result<(), String> {
    if policy != Policy::Strict {
        refused::catch_calls(events::refused_call).map_err(|error| error.to_string())?;
    }
    filters.iter().try_for_each(|filter| apply_filter_all_threads(filter)).map_err(|error| match error {
        seccompiler::Error::Seccomp(error) => error.to_string(),
        seccompiler::Error::ThreadSync(thread) => format!("thread {thread} has another filter"),
        error => error.to_string(),
    })
}

/// Returns the filters in the order in which they are installed: each allows the next to be.
fn filters(policy: Policy, lists: &Lists) -> Result<[BpfProgram; 2], String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let compile = |rules, default, matched| {
        let filter = SeccompFilter::new(rules, default, matched, arch).map_err(|error| error.to_string())?;
        BpfProgram::try_from(filter).map_err(|error| error.to_string())
    };
    let rules = |list: &[Row]| {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for row in list {
            if let Some(number) = refused::call_number(row.call) {
                rules.insert(i64::from(number), conditions(row.only)?);
            }
        }
        Ok::<_, String>(rules)
    };
    let no_such_call = SeccompAction::Errno(Errno::NOSYS.raw_os_error().unsigned_abs());
    let absent = compile(rules(lists.absent)?, SeccompAction::Allow, no_such_call)?;
    let mut allowed = rules(lists.allowed)?;
    // The stricter of two filters decides, and an error is not the strictest.
    for (number, conditions) in rules(lists.absent)? {
        allowed.entry(number).or_insert(conditions);
    }
    let refused = if policy == Policy::Strict { SeccompAction::KillProcess } else { SeccompAction::Trap };
    Ok([absent, compile(allowed, refused, SeccompAction::Allow)?])
}

/// Returns the rules of which one has to match.
fn conditions(only: Only) -> Result<Vec<SeccompRule>, String> {
    let rule = |place, operator, value| {
        let condition = SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, value);
        let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
        rule.map_err(|error| error.to_string())
    };
    let equal = |place, value| rule(place, SeccompCmpOp::Eq, value);
    Ok(match only {
        Only::Always => Vec::new(),
        Only::One(place, values) => {
            values.iter().map(|value| equal(place, *value)).collect::<Result<_, _>>()?
        }
        Only::With(place, bit) => vec![rule(place, SeccompCmpOp::MaskedEq(bit), bit)?],
        Only::Without(place, bits) => vec![rule(place, SeccompCmpOp::MaskedEq(bits), 0)?],
        Only::Itself => vec![equal(0, u64::from(std::process::id()))?],
        Only::RingInUse => {
            probe::registrations().map(|code| equal(1, code.into())).collect::<Result<_, _>>()?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{acme, calls};
    use super::*;

    #[test]
    fn the_list_compiles_to_filters_that_the_kernel_takes() {
        let all = [&calls::LISTS, &acme::LISTS];
        for (policy, lists) in
            [Policy::Auto, Policy::Strict].into_iter().flat_map(|one| all.map(|lists| (one, lists)))
        {
            let filters = filters(policy, lists).unwrap();
            // BPF_MAXINSNS of the kernel.
            assert!(filters.iter().all(|filter| (1..=4096).contains(&filter.len())));
        }
    }
}
