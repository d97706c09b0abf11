//! The layers that stand, and those that are missing.

use std::fmt::{self, Display};

use sitar_engines::Rings;

use super::Policy;
use crate::error::Error;

/// The layers of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    standing: Vec<String>,
    /// What was given up first, and is named last.
    privileges: Option<&'static str>,
    missing: Vec<String>,
    /// What the layers that stand let through by a fault of this kernel.
    open: Option<&'static str>,
}

impl Layers {
    pub(super) fn none() -> Layers {
        Layers { standing: Vec::new(), privileges: None, missing: Vec::new(), open: None }
    }

    /// Returns layers of which none is missing.
    #[cfg(test)]
    pub(crate) fn standing_on(layers: &[&str]) -> Layers {
        let standing = layers.iter().map(|layer| (*layer).to_owned()).collect();
        Layers { standing, ..Layers::none() }
    }

    /// Notes a layer that stands.
    pub(super) fn stands(&mut self, layer: impl Into<String>) {
        self.standing.push(layer.into());
    }

    /// Notes the privileges that were given up.
    pub(super) fn stands_last(&mut self, layer: &'static str) {
        self.privileges = Some(layer);
    }

    /// Notes a layer that is missing, and why.
    pub(super) fn lacks(&mut self, layer: &str, why: impl Display) {
        self.missing.push(format!("{layer} ({why})"));
    }

    /// Notes what a fault of this kernel lets through. That is no layer that is missing: every
    /// kernel of its time has it, so a strict sandbox starts.
    pub(super) fn leaves_open(&mut self, what: &'static str) {
        self.open = Some(what);
    }

    pub(super) fn rings(&mut self, rings: Rings) {
        match rings {
            Rings::None => {}
            Rings::Restricted => self.stands("restricted rings"),
            Rings::Unrestricted => self.lacks("restricted rings", "this kernel refuses the restrictions"),
        }
    }

    /// Returns the layers that are missing, each with the reason.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Holds the policy against what is missing.
    pub(super) fn hold(&self, policy: Policy) -> Result<(), Error> {
        if policy != Policy::Strict || self.missing.is_empty() {
            return Ok(());
        }
        let error = Error::new("the sandbox is not complete (--sandbox strict)");
        let error = self.missing.iter().fold(error, |error, layer| error.cause(format!("without {layer}")));
        Err(error
            .hint("run on what this kernel has: --sandbox auto")
            .hint("see what is missing: sitar doctor"))
    }
}

impl Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing: Vec<&str> = self.standing.iter().map(String::as_str).chain(self.privileges).collect();
        match (&standing[..], &self.missing[..]) {
            ([], []) => f.write_str("off"),
            ([], missing) => write!(f, "without {}", missing.join(", ")),
            (standing, []) => f.write_str(&standing.join(", ")),
            (standing, missing) => write!(f, "{}; without {}", standing.join(", "), missing.join(", ")),
        }?;
        self.open.map_or(Ok(()), |what| write!(f, "; open: {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_stands_and_what_is_missing() {
        let mut layers = Layers::none();
        assert_eq!(layers.to_string(), "off");
        layers.stands("Landlock ABI 7");
        layers.rings(Rings::Restricted);
        layers.rings(Rings::None);
        assert_eq!(layers.to_string(), "Landlock ABI 7, restricted rings");
        layers.stands_last("no capabilities");
        layers.lacks("seccomp", "the kernel has none");
        assert_eq!(
            layers.to_string(),
            "Landlock ABI 7, restricted rings, no capabilities; without seccomp (the kernel has none)"
        );
        assert_eq!(layers.missing(), ["seccomp (the kernel has none)"]);
        let mut layers = Layers::standing_on(&["Landlock ABI 7"]);
        layers.leaves_open("a door");
        assert_eq!(layers.to_string(), "Landlock ABI 7; open: a door");
        assert_eq!(layers.hold(Policy::Strict), Ok(()));
        let mut layers = Layers::none();
        layers.rings(Rings::Unrestricted);
        assert_eq!(layers.to_string(), "without restricted rings (this kernel refuses the restrictions)");
    }

    #[test]
    fn strict_is_refused_by_what_is_missing_only() {
        let mut layers = Layers::none();
        layers.stands("Landlock ABI 7");
        assert_eq!(layers.hold(Policy::Strict), Ok(()));
        layers.lacks("seccomp", "the kernel has none");
        assert_eq!(layers.hold(Policy::Auto), Ok(()));
        assert_eq!(
            layers.hold(Policy::Strict).unwrap_err().render(false),
            "error: the sandbox is not complete (--sandbox strict)\n\
             \x20 cause: without seccomp (the kernel has none)\n\
             \x20 hint: run on what this kernel has: --sandbox auto\n\
             \x20 hint: see what is missing: sitar doctor\n"
        );
    }
}
