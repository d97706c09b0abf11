//! The run as a picture: bars with their intervals, each case on a scale of its own.
//!
//! Drawn here because a crate for plots is more to keep than these bars. Other pictures can be
//! drawn from `bench/results.json`.

use super::results::{Row, Table, is_ours};
use crate::participants::FLOOR;
use crate::run::Run;
use crate::stats::{Estimate, figure};
use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
/// Beginning of the bars, and length of the longest.
const LEFT: f64 = 150.0;
const BAR: f64 = 480.0;
const LINE: f64 = 20.0;

/// Draws all tables with more than one row, one below the other.
pub(super) fn svg(run: &Run, tables: &[Table]) -> String {
    let mut body = String::new();
    let mut y = 30.0;
    text(
        &mut body,
        10.0,
        y,
        "title",
        if run.quick { "A quick run: not to be relied on" } else { "Less is better" },
    );
    text(&mut body, 10.0, y + 18.0, "unit", &format!("{}, {}", run.machine, run.date));
    y += 30.0;
    for table in tables.iter().filter(|table| table.rows.len() > 1) {
        y += LINE * 1.5;
        text(&mut body, 10.0, y, "case", &table.name);
        text(&mut body, LEFT + BAR, y, "unit end", table.unit);
        let estimates = table.rows.iter().filter_map(|row| Some((row, Estimate::of(&row.figures)?)));
        let estimates: Vec<(&Row, Estimate)> = estimates.collect();
        let most = estimates.iter().map(|(_, estimate)| estimate.high).fold(f64::MIN_POSITIVE, f64::max);
        for (row, estimate) in estimates {
            y += LINE;
            bar(&mut body, y, row, estimate, most);
        }
    }
    let height = y + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"sitar beside its peers\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, y: f64, row: &Row, estimate: Estimate, most: f64) {
    let at = |value: f64| (value.max(0.0) / most * BAR * 100.0).round() / 100.0;
    let class = match row.name.as_str() {
        FLOOR => "floor",
        name if is_ours(name) => "ours",
        _ => "peer",
    };
    text(body, LEFT - 8.0, y, "name end", &row.name);
    // Writing to a String cannot fail.
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"13\"/>",
        y - 11.0,
        at(estimate.median)
    );
    let _ = writeln!(
        body,
        "<path class=\"interval\" d=\"M{} {}H{}\"/>",
        LEFT + at(estimate.low),
        y - 4.5,
        LEFT + at(estimate.high)
    );
    text(body, LEFT + at(estimate.high) + 6.0, y, "figure", &figure(estimate.median));
}

fn text(body: &mut String, x: f64, y: f64, class: &str, what: &str) {
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(what));
}

/// Escapes text and values of attributes, for SVG and HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#222}.title,.case{font-weight:600}.title{font-size:16px}\
.unit,.figure{fill:#666;font-size:12px}.end{text-anchor:end}.ground{fill:#fff}.floor{fill:#bbb}.ours{fill:#1f7a5c}\
.peer{fill:#8aa4c0}.interval{stroke:#222;stroke-width:1.5}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::{row, table};

    #[test]
    fn names_cannot_break_the_picture() {
        assert_eq!(escaped("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
        let mut table = table();
        table.rows.push(row("<peer>", true, &[1.0]));
        let picture = svg(&Run::default(), &[table]);
        assert!(picture.contains(">&lt;peer&gt;</text>"));
        assert_eq!(picture.matches("<rect class=\"ours\"").count(), 1);
        assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
    }

    #[test]
    fn the_longest_bar_fits() {
        let mut body = String::new();
        let estimate = Estimate { median: 10.0, low: 9.0, high: 10.0 };
        bar(&mut body, 20.0, &row("nginx", true, &[10.0]), estimate, 10.0);
        assert!(body.contains(&format!("width=\"{BAR}\"")), "{body}");
        assert!(body.contains("class=\"peer\""));
    }
}
