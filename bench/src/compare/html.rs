//! The run as a part of the handbook, between two marks of a page that otherwise stays as it is.
//!
//! Written here because an engine for templates is more to keep than this table.

use super::report::ratio;
use super::results::{Ratio, Table, is_ours};
use super::svg::escaped;
use crate::Result;
use crate::cases::Against;
use crate::participants::SITAR;
use crate::run::Run;
use crate::stats::{Estimate, figure};
use std::fmt::Write as _;

pub(super) const PAGE: &str = "crates/sitar/src/handbook/measured.html";
const BEGIN: &str = "<!-- the last run -->\n";
const END: &str = "<!-- its end -->\n";

/// Returns the page with this run in place of the one before.
pub(super) fn renewed(page: &str, run: &Run, tables: &[Table]) -> Result<String> {
    let (head, rest) = page.split_once(BEGIN).ok_or("the page has no mark where the run begins")?;
    let (_, tail) = rest.split_once(END).ok_or("the page has no mark where the run ends")?;
    Ok(format!("{head}{BEGIN}{}{END}{tail}", section(run, tables)))
}

fn section(run: &Run, tables: &[Table]) -> String {
    let peers: Vec<String> = run
        .participants
        .iter()
        .filter(|one| one.is_peer())
        .map(|one| format!("{} ({})", one.name, one.version))
        .collect();
    let mut text = format!(
        "<p><code>{}</code> on {}, {}. Peers: {}. Medians of {} rounds, each with its 95 % interval.</p>\n",
        escaped(&run.command),
        escaped(&run.machine),
        escaped(&run.date),
        escaped(&peers.join(", ")),
        run.rounds
    );
    text += "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Case</th><th scope=\"col\">sitar</th>\
             <th scope=\"col\">Best peer</th><th scope=\"col\">sitar / best peer</th><th scope=\"col\">sitar / floor</th></tr></thead>\n<tbody>\n";
    for table in tables {
        for row in table.rows.iter().filter(|row| is_ours(&row.name)) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line(table, &row.name));
        }
    }
    text + "</tbody></table></div>\n"
}

/// Returns the row of one case and one way to start sitar.
fn line(table: &Table, who: &str) -> String {
    let median = |figures: &[f64]| Estimate::of(figures).map_or("–".into(), |of| figure(of.median));
    let ours = table.row(who).map_or("–".into(), |row| median(&row.figures));
    let best =
        table.best_peer().map_or("–".into(), |row| format!("{} ({})", median(&row.figures), row.name));
    let shown = |found: Option<Ratio>| found.map_or("–".into(), |found| ratio(&found));
    let to_best = table.ratio(who, Against::Best);
    let lost = to_best.as_ref().is_some_and(|found| found.value.median > 1.0);
    let to_best = shown(to_best);
    format!(
        "<tr><td>{}{}, {}</td><td>{ours}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escaped(&table.name),
        if who == SITAR { String::new() } else { format!(" ({})", escaped(who)) },
        escaped(table.unit),
        escaped(&best),
        if lost { format!("<strong>{to_best}</strong>, lost") } else { to_best },
        shown(table.ratio(who, Against::Floor))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::{row, table};
    use crate::participants::SITAR_MEMORY;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("<h1>a</h1>\n{BEGIN}old\n{END}<p>b</p>\n");
        let new = renewed(&page, &Run::default(), &[table()]).unwrap();
        assert!(new.starts_with("<h1>a</h1>\n") && new.ends_with("<p>b</p>\n") && !new.contains("old"));
        assert!(new.contains("<td>8.00 (h2o)</td><td>0.62 (0.62 … 0.75)</td>"), "{new}");
        assert_eq!(renewed(&new, &Run::default(), &[table()]).unwrap(), new);
        assert!(renewed("no marks", &Run::default(), &[]).is_err());
    }

    #[test]
    fn sitar_started_in_another_way_has_a_line_of_its_own() {
        let mut table = table();
        table.rows.push(row(SITAR_MEMORY, false, &[4.0, 4.0, 4.0]));
        let text = section(&Run::default(), &[table]);
        assert_eq!(text.matches("<tr><td>").count(), 2, "{text}");
        assert!(text.contains("<tr><td>h1 TLS 1 KiB (sitar, --memory 1024), µs</td><td>4.00</td>"), "{text}");
    }

    #[test]
    fn a_loss_is_shown_as_one() {
        let mut table = table();
        table.rows[1].figures = vec![16.0; 3];
        let shown = line(&table, SITAR);
        assert!(shown.contains("<strong>2.00</strong>, lost"), "{shown}");
    }
}
