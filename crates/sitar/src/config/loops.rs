//! Redirects that lead back to where they began, as far as the files tell.

use std::collections::HashMap;

use super::host;
use super::listeners::role_on;
use super::problems::{Problems, quoted};
use super::section::Section;
use super::texts::{self, Target};
use super::{ListenerConfig, ListenerRole, SiteConfig, SiteContent};

/// Reports each loop once, at one of its sites. A host that no site names may be another server's,
/// so nothing is taken to lead to the default site.
pub(super) fn check(
    sites: &[SiteConfig],
    sections: &[Section],
    listeners: &[ListenerConfig],
    problems: &mut Problems,
) {
    let targets: Vec<Option<Target>> = sites.iter().map(target).collect();
    if targets.iter().all(Option::is_none) {
        return;
    }
    let hosts: HashMap<&str, usize> = sites
        .iter()
        .enumerate()
        .flat_map(|(number, site)| site.hosts.iter().map(move |host| (&**host, number)))
        .collect();
    let next: Vec<Option<usize>> =
        targets.iter().map(|target| next(target.as_ref()?, listeners, &hosts)).collect();
    let follow = |site: usize| next.get(site).copied().flatten();
    // The site from which each one was first come to.
    let mut seen_from = vec![usize::MAX; sites.len()];
    for first in 0..sites.len() {
        let mut at = Some(first);
        while let Some(site) = at
            && let Some(seen) = seen_from.get_mut(site).filter(|seen| **seen == usize::MAX)
        {
            *seen = first;
            at = follow(site);
        }
        // What this one leads to is a loop only if the way there was made just now.
        if let Some(site) = at.filter(|site| seen_from.get(*site) == Some(&first)) {
            report(site, follow(site), &targets, sites, sections, problems);
        }
    }
}

fn target(site: &SiteConfig) -> Option<Target> {
    match &site.content {
        SiteContent::Redirect { to, .. } => texts::target(to).ok(),
        SiteContent::Root { .. } => None,
    }
}

/// Returns the site that answers at a target, where that is one of the file.
fn next(target: &Target, listeners: &[ListenerConfig], hosts: &HashMap<&str, usize>) -> Option<usize> {
    let answers = match role_on(listeners, target.port, host::is_local(&target.host))? {
        ListenerRole::Https => target.is_https,
        // To the same host on https, which is the same site.
        ListenerRole::RedirectToHttps | ListenerRole::Plain => !target.is_https,
    };
    let site = || hosts.get(&*target.host).or_else(|| hosts.get(&*host::wildcard(&target.host)?));
    answers.then(site).flatten().copied()
}

fn report(
    site: usize,
    next: Option<usize>,
    targets: &[Option<Target>],
    sites: &[SiteConfig],
    sections: &[Section],
    problems: &mut Problems,
) {
    let place = sections.get(site).and_then(|section| section.text("redirect_to"));
    let (Some(Some(target)), Some((_, place))) = (targets.get(site), place) else { return };
    let host = quoted(&target.host);
    match next.and_then(|next| sites.get(next)).filter(|_| next != Some(site)) {
        Some(other) => problems.add_with(
            place,
            format!("the redirect to {host} leads back to this site"),
            format!("the site of {host} is at {}", other.place),
        ),
        None => {
            let on_http = match target.is_https {
                true => String::new(),
                false => format!(", and plain HTTP on port {} leads to it", target.port),
            };
            let what = format!("the site redirects to itself: {host} is one of its hosts{on_http}");
            problems.add_with(place, what, "for the other names of a site: canonical = \"example.com\"");
        }
    }
}
