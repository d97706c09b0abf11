//! `sitar check`: what is wrong with a site, as text or as JSON.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sitar_publish::check::{Findings, Location, Problem, Work, check_with};
use sitar_site::{Options, Printable};

use crate::error::{EXIT_PROBLEMS, Error};
use crate::output;

/// The arguments of `sitar check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Check {
    /// A tar archive or a directory
    pub path: PathBuf,

    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,

    /// Look only at what lies below this folder of the archive or directory, as the root
    #[arg(long, env = "SITAR_PREFIX")]
    pub prefix: Option<String>,

    /// Look at what links lead to outside of the directory, too, as `sitar serve --follow-links`
    /// serves it
    #[arg(long, env = "SITAR_FOLLOW_LINKS", value_parser = clap::builder::FalseyValueParser::new())]
    pub follow_links: bool,

    /// Look at files at the root that configure other hosts of sites, such as CNAME, too, as sitar
    /// serve --serve-config-files serves them
    #[arg(long, env = "SITAR_SERVE_CONFIG_FILES", value_parser = clap::builder::FalseyValueParser::new())]
    pub serve_config_files: bool,

    /// Report files larger than this, in MiB; 0: none
    #[arg(long, value_name = "MIB", default_value_t = 25)]
    pub max_size: u32,
}

/// Looks at a site and prints what is wrong. The code is 0 when nothing is, 3 when something is.
///
/// # Errors
/// The site cannot be opened at all.
pub fn run(arguments: &Check) -> Result<ExitCode, Error> {
    let options = Options {
        prefix: arguments.prefix.clone(),
        follow_links: arguments.follow_links,
        config_files: arguments.serve_config_files,
        ..Options::default()
    };
    let size_max = (arguments.max_size > 0).then(|| u64::from(arguments.max_size) << 20);
    let bar = bar();
    let work = Work {
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        progress: &mut |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        },
    };
    let findings = check_with(&arguments.path, &options, size_max, work);
    bar.finish_and_clear();
    let findings = findings.map_err(|error| {
        Error::new(error.to_string())
            .hint("PATH is a directory or a tar archive, made for example by `tar cf site.tar -C public .`")
    })?;
    let text = if arguments.json { json(&findings) } else { plain(&findings) };
    output::print(&text)?;
    Ok(if findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_PROBLEMS) })
}

/// A bar on standard error, where that is a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    // A template that indicatif cannot read would be shown as its default.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} files") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// A line for each problem, and one that sums up.
fn plain(findings: &Findings) -> String {
    let mut text = String::new();
    for problem in &findings.problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", Printable(&problem.to_string()));
    }
    if findings.more > 0 {
        let _ = writeln!(text, "and {} more", findings.more);
    }
    if !findings.not_served.is_empty() {
        let names: Vec<_> = findings.not_served.iter().map(|name| Printable(name).to_string()).collect();
        let _ = writeln!(text, "not served, because they configure other hosts: {}", names.join(", "));
    }
    let problems = findings.problems.len() + findings.more;
    let places = findings.problems.iter().map(|problem| problem.times).sum::<usize>() + findings.more;
    let problems = match problems {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    } + &if places > problems { format!(" in {places} places") } else { String::new() };
    let _ = writeln!(text, "{} files, {} links: {problems}", findings.files, findings.links);
    text
}

/// One object for each problem; one about links has all places that are kept.
fn json(findings: &Findings) -> String {
    let mut text = String::from("{\"problems\":[");
    for (at, problem) in findings.problems.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (kind, line) = (problem.kind.name(), problem.line);
        let (file, what) = (quoted(&problem.file), quoted(&problem.what));
        let _ =
            write!(text, "{comma}\n{{\"kind\":\"{kind}\",\"file\":{file},\"line\":{line},\"what\":{what}");
        if !problem.target.is_empty() {
            let Problem { times, pages, .. } = problem;
            let target = quoted(&problem.target);
            let _ = write!(text, ",\"target\":{target},\"times\":{times},\"pages\":{pages},\"places\":[");
            let _ = write!(text, "{{\"file\":{file},\"line\":{line}}}");
            for Location { file, line } in &problem.others {
                let _ = write!(text, ",{{\"file\":{},\"line\":{line}}}", quoted(file));
            }
            text.push(']');
        }
        text.push('}');
    }
    let Findings { more, files, links, .. } = findings;
    let not_served: Vec<_> = findings.not_served.iter().map(|name| quoted(name)).collect();
    let not_served = not_served.join(",");
    let _ = writeln!(
        text,
        "],\n\"more\":{more},\"files\":{files},\"links\":{links},\"not_served\":[{not_served}]}}"
    );
    text
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use sitar_publish::check::{Kind, check};

    fn findings() -> Findings {
        let problem = |line, what: &str| Problem::new(Kind::BrokenLink, "a\"b.html", line, what);
        Findings {
            problems: vec![problem(3, "links to x\u{1b}"), problem(0, "is\\odd")],
            more: 2,
            not_served: vec!["CNAME".to_owned()],
            files: 5,
            links: 7,
        }
    }

    #[test]
    fn as_text() {
        assert_eq!(
            plain(&findings()),
            "a\"b.html:3: links to x\\u{1b}\na\"b.html: is\\odd\nand 2 more\n\
             not served, because they configure other hosts: CNAME\n5 files, 7 links: 4 problems\n"
        );
        assert_eq!(plain(&Findings::default()), "0 files, 0 links: nothing is wrong\n");
    }

    #[test]
    fn as_json() {
        assert_eq!(
            json(&findings()),
            "{\"problems\":[\n\
             {\"kind\":\"broken-link\",\"file\":\"a\\\"b.html\",\"line\":3,\"what\":\"links to x\\u001b\"},\n\
             {\"kind\":\"broken-link\",\"file\":\"a\\\"b.html\",\"line\":0,\"what\":\"is\\\\odd\"}],\n\
             \"more\":2,\"files\":5,\"links\":7,\"not_served\":[\"CNAME\"]}\n"
        );
    }

    #[test]
    fn a_target_of_several_links() {
        let mut grouped = findings();
        let place = |file: &str, line| Location { file: file.to_owned(), line };
        grouped.problems.truncate(1);
        let problem = &mut grouped.problems[0];
        (problem.target, problem.times, problem.pages) = ("/x".to_owned(), 3, 2);
        problem.others = vec![place("c.html", 1), place("c.html", 9)];
        assert_eq!(
            plain(&grouped),
            "a\"b.html:3: links to x\\u{1b} (on 2 pages; also c.html)\nand 2 more\n\
             not served, because they configure other hosts: CNAME\n\
             5 files, 7 links: 3 problems in 5 places\n"
        );
        assert_eq!(
            json(&grouped),
            "{\"problems\":[\n\
             {\"kind\":\"broken-link\",\"file\":\"a\\\"b.html\",\"line\":3,\"what\":\"links to x\\u001b\",\
             \"target\":\"/x\",\"times\":3,\"pages\":2,\"places\":[{\"file\":\"a\\\"b.html\",\"line\":3},\
             {\"file\":\"c.html\",\"line\":1},{\"file\":\"c.html\",\"line\":9}]}],\n\
             \"more\":2,\"files\":5,\"links\":7,\"not_served\":[\"CNAME\"]}\n"
        );
    }

    #[test]
    fn the_handbook_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in crate::handbook::FILES {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let findings = check(folder.path(), &Options::default(), None).unwrap();
        assert_eq!(
            plain(&Findings { files: 0, links: 0, ..findings }),
            "0 files, 0 links: nothing is wrong\n"
        );
    }
}
