//! What this machine is called by others, as far as it knows.

use std::fs;

use rustix::system::uname;

/// Where the resolver's search domains are (resolv.conf(5)).
const RESOLVER: &str = "/etc/resolv.conf";

/// The machine's own name, alone, with `.local` (RFC 6762), and with each search domain.
pub(crate) fn host_names() -> Vec<String> {
    let name = uname();
    let name = name.nodename().to_str().unwrap_or_default();
    names_of(name, &fs::read_to_string(RESOLVER).unwrap_or_default())
}

fn names_of(name: &str, resolver: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    // Some machines have their domain in their name.
    let short = name.split('.').next().unwrap_or(name);
    let domains = resolver.lines().filter_map(|line| {
        let (key, domains) = line.split_once(|c: char| c.is_ascii_whitespace())?;
        matches!(key, "search" | "domain").then_some(domains)
    });
    let domains = domains.flat_map(str::split_ascii_whitespace);
    let domains = domains.map(|domain| domain.trim_matches('.'));
    let mut names = vec![name.to_owned(), short.to_owned()];
    for domain in domains.chain(["local"]).filter(|it| !it.is_empty()) {
        names.push(format!("{short}.{domain}"));
    }
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_by_its_name_and_in_its_domains() {
        let resolver = "# by hand\nnameserver 10.0.0.1\nsearch lan fritz.box.\ndomain .\nsearch\n";
        let expected = ["box", "box.lan", "box.fritz.box", "box.local"];
        assert_eq!(names_of("box", resolver), expected);
        let expected = ["box.example.org", "box", "box.local"];
        assert_eq!(names_of("box.example.org", ""), expected);
        assert!(names_of("", resolver).is_empty());
        assert!(!host_names().is_empty());
    }
}
