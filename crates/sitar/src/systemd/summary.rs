//! The line that `systemctl status` shows.

use crate::admin::{SiteState, Status};
use crate::start;

/// Returns how a server is, in a line: its sites, the certificate that ends first, and what is
/// wrong.
#[must_use]
pub fn summary(status: &Status) -> String {
    let mut parts = vec![start::count(status.sites.len(), "site")];
    let closed = status.sites.iter().filter(|site| matches!(site.state, SiteState::Unavailable(_))).count();
    if closed > 0 {
        parts.push(format!("{closed} of them cannot be opened"));
    }
    // The local one is made again in time.
    let own = status.certificates.iter().filter(|certificate| certificate.chain.is_some());
    if let Some((days, first)) =
        own.filter_map(|one| Some((one.days_left?, one))).min_by_key(|(days, _)| *days)
    {
        let name = first.names.first().map_or("no name", String::as_str);
        parts.push(match days {
            ..0 => format!("certificate of {name} expired"),
            _ => format!(
                "certificate of {name} for {}",
                start::count(usize::try_from(days).unwrap_or(0), "day")
            ),
        });
    }
    if let Some(reload) = status.last_reload.as_ref().filter(|reload| !reload.ok) {
        parts.push(match reload.problems.first() {
            Some(problem) => format!("the last reload was refused: {}", problem.sentence()),
            None => "the last reload was refused".to_owned(),
        });
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Certificate, Reload, Site, SiteContent};
    use crate::error::Error;

    fn site(state: SiteState) -> Site {
        Site {
            name: "a.test".into(),
            hosts: Vec::new(),
            is_default: false,
            content: SiteContent::Redirect { to: "https://b.test".into() },
            state,
            since: None,
            encodings: None,
        }
    }

    fn certificate(name: &str, days_left: Option<i64>) -> Certificate {
        Certificate {
            names: vec![name.into()],
            chain: Some("/etc/chain.pem".into()),
            not_before: None,
            not_after: None,
            days_left,
            sha256: String::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn sites_the_certificate_that_ends_first_and_what_is_wrong() {
        let mut status = Status { sites: vec![site(SiteState::Serving)], ..Status::default() };
        assert_eq!(summary(&status), "1 site");
        let local = Certificate { chain: None, ..certificate("localhost", Some(3)) };
        status.certificates = vec![
            certificate("a.test", Some(61)),
            certificate("b.test", Some(30)),
            certificate("c", None),
            local,
        ];
        status.sites.push(site(SiteState::Serving));
        assert_eq!(summary(&status), "2 sites, certificate of b.test for 30 days");
        status.certificates[0].days_left = Some(-1);
        status.sites.push(site(SiteState::Unavailable("not found".into())));
        status.last_reload = Some(Reload::refused(1, vec![Error::new("sitar.toml:2:1: unknown key 'rot'")]));
        assert_eq!(
            summary(&status),
            "3 sites, 1 of them cannot be opened, certificate of a.test expired, the last reload was refused: \
             sitar.toml:2:1: unknown key 'rot'"
        );
    }
}
