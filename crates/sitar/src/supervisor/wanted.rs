//! What a worker asks its supervisor for, or tells it, of its own accord. It is not believed more
//! than it has to be: a worker can be taken over.

use serde_json::Value;
use sitar_site::Printable;

use crate::handover::SiteFacts;
use crate::metrics::Numbers;

/// The most characters of what a worker says.
const WHY_MAX: usize = 200;

/// What a worker asks for.
pub(super) enum Wanted {
    /// Another worker in its place.
    Successor { why: String },
    /// The root of a site of a configuration.
    Root { generation: u64, site: usize },
    /// Nothing: another content of a site is served.
    Changed { generation: u64, site: usize, facts: SiteFacts },
    /// Nothing: these are its last numbers.
    Counted(Box<Numbers>),
}

impl Wanted {
    pub(super) fn read(value: &Value) -> Option<Wanted> {
        if let Some(why) = value.get("give_way") {
            let why = why.as_str()?.chars().take(WHY_MAX).collect::<String>();
            return Some(Wanted::Successor { why: Printable(&why).to_string() });
        }
        if let Some(numbers) = value.get("counted") {
            return Some(Wanted::Counted(Box::new(Numbers::from_json(numbers)?)));
        }
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        if let Some(site) = number("changed") {
            let site = usize::try_from(site).ok()?;
            let mut facts = SiteFacts::from_json(value.get("facts")?)?;
            // Those of many sites may have to wait.
            for text in [&mut facts.unavailable, &mut facts.version].into_iter().flatten() {
                *text = text.chars().take(WHY_MAX).collect();
            }
            return Some(Wanted::Changed { generation: number("generation")?, site, facts });
        }
        let site = usize::try_from(number("reopen")?).ok()?;
        Some(Wanted::Root { generation: number("generation")?, site })
    }
}
