//! The figures of a run, from which all reports are made.

use crate::cases::{Against, Target};
use crate::participants::{FLOOR, SITAR, SITAR_EPOLL, SITAR_MEMORY};
use crate::stats::Estimate;

/// One row: a server in one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) is_peer: bool,
    /// One figure for each round.
    pub(super) figures: Vec<f64>,
    /// Requests per second, for each round; empty where the rate was given.
    pub(super) rates: Vec<f64>,
    /// Bytes in RAM at the end.
    pub(super) resident: Option<u64>,
    /// System calls per request, or the reason why there is no such figure.
    pub(super) calls: Option<Result<f64, String>>,
}

/// One quantity of all servers in one case. Less is better in each of them.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Row>,
    /// A note for the reader.
    pub(super) note: &'static str,
}

/// One server's figure over another's.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    pub(super) to: String,
    pub(super) value: Estimate,
}

impl Table {
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Returns the peer with the least median.
    pub(super) fn best_peer(&self) -> Option<&Row> {
        let median =
            |row: &&Row| Estimate::of(&row.figures).map_or(f64::INFINITY, |estimate| estimate.median);
        self.rows.iter().filter(|row| row.is_peer).min_by(|a, b| median(a).total_cmp(&median(b)))
    }

    /// Returns the ratio, taken round by round, so that the machine's drift cancels out.
    pub(super) fn ratio(&self, who: &str, against: Against) -> Option<Ratio> {
        let other = match against {
            Against::Floor => self.row(FLOOR)?,
            Against::Best => self.best_peer()?,
            Against::Named(name) => self.row(name)?,
            Against::Nothing => return None,
        };
        let ratios: Vec<f64> =
            self.row(who)?.figures.iter().zip(&other.figures).map(|(one, other)| one / other).collect();
        // Two servers that did nothing, as far as the clock can tell.
        if ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        Some(Ratio { to: other.name.clone(), value: Estimate::of(&ratios)? })
    }
}

/// Returns whether a name is sitar's, in any way to start it.
pub(super) fn is_ours(name: &str) -> bool {
    [SITAR, SITAR_EPOLL, SITAR_MEMORY].contains(&name)
}

/// The outcome of a bound.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The figure or ratio, the other server, and whether it is within the bound.
    Measured { value: Estimate, to: String, met: bool },
    /// This run has no such figure.
    Absent(String),
}

pub(super) fn verdict(tables: &[Table], target: &Target) -> Verdict {
    let Some(table) = tables.iter().find(|table| table.name == target.table) else {
        return Verdict::Absent("not measured in this run".into());
    };
    let measured = if target.against == Against::Nothing {
        let figures = table.row(target.who).map(|row| row.figures.clone()).unwrap_or_default();
        Estimate::of(&figures).map(|value| Ratio { to: table.unit.to_owned(), value })
    } else {
        table.ratio(target.who, target.against)
    };
    match (measured, target.against) {
        (Some(Ratio { to, value }), _) => Verdict::Measured { value, to, met: value.median <= target.most },
        (None, Against::Named(name)) => Verdict::Absent(format!("{name} is absent")),
        (None, _) => Verdict::Absent("no peer to compare with".into()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cases::TARGETS;

    pub(crate) fn row(name: &str, is_peer: bool, figures: &[f64]) -> Row {
        Row { name: name.into(), is_peer, figures: figures.into(), ..Row::default() }
    }

    pub(crate) fn table() -> Table {
        let rows = vec![
            row(FLOOR, false, &[4.0, 4.0, 4.0]),
            row(SITAR, false, &[5.0, 6.0, 5.0]),
            row("nginx", true, &[10.0, 12.0, 10.0]),
            row("h2o", true, &[8.0, 8.0, 8.0]),
        ];
        Table { name: "h1 TLS 1 KiB".into(), unit: "µs", rows, note: "" }
    }

    #[test]
    fn ratios_are_of_rounds_and_to_the_best() {
        let table = table();
        let best = table.ratio(SITAR, Against::Best).unwrap();
        assert_eq!((best.to.as_str(), best.value.median), ("h2o", 0.625));
        let nginx = table.ratio(SITAR, Against::Named("nginx")).unwrap();
        assert_eq!((nginx.value.low, nginx.value.median, nginx.value.high), (0.5, 0.5, 0.5));
        assert!(table.ratio(SITAR, Against::Named("lighttpd")).is_none());
    }

    #[test]
    fn bounds_are_met_missed_or_without_a_figure() {
        let tables = [table()];
        let of = |against, who| {
            let target = TARGETS
                .iter()
                .find(|target| (target.table, target.against, target.who) == ("h1 TLS 1 KiB", against, who));
            verdict(&tables, target.unwrap())
        };
        assert!(matches!(of(Against::Best, SITAR), Verdict::Measured { met: true, .. }));
        assert!(matches!(of(Against::Floor, SITAR), Verdict::Measured { met: false, .. }));
        assert!(matches!(of(Against::Best, SITAR_EPOLL), Verdict::Absent(_)));
        assert!(matches!(verdict(&[], &TARGETS[0]), Verdict::Absent(_)));
    }
}
