//! What the sandbox has refused so far.

use std::fmt::{self, Display};

use sitar_io::refused;

/// Attempts that were refused, by the kernel's names. Those that Landlock refused are not among
/// them: they end as they would for want of a permission.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// System calls.
    pub calls: Vec<(String, u64)>,
    /// Ring operations.
    pub operations: Vec<(String, u64)>,
}

/// Returns what was refused so far.
#[must_use]
pub fn refusals() -> Refusals {
    let call = |(name, count): (Option<&str>, u64)| (name.unwrap_or(refused::UNKNOWN).to_owned(), count);
    let operation = |(name, count): (&str, u64)| (name.to_owned(), count);
    Refusals {
        calls: refused::calls().into_iter().map(call).collect(),
        operations: refused::operations().into_iter().map(operation).collect(),
    }
}

impl Refusals {
    /// Returns the number of attempts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls.iter().chain(&self.operations).map(|(_, count)| count).sum()
    }
}

impl Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(|(name, count)| format!("{name} {count}"));
        let operations = self.operations.iter().map(|(name, count)| format!("{name} on a ring {count}"));
        match &calls.chain(operations).collect::<Vec<_>>()[..] {
            [] => f.write_str("none"),
            all => f.write_str(&all.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_told_by_name_and_count() {
        let mut all = Refusals::default();
        assert_eq!((all.to_string(), all.total()), ("none".to_owned(), 0));
        all.calls.push(("execve".to_owned(), 2));
        all.operations.push(("unknown".to_owned(), 1));
        assert_eq!((all.to_string(), all.total()), ("execve 2, unknown on a ring 1".to_owned(), 3));
    }
}
