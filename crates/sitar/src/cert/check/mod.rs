//! `sitar cert check NAME`: what an authority would find if it looked now, as far as this machine
//! can tell. Nothing is asked of an authority.

mod caa;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use sitar_acme::Identifier;

use crate::error::{EXIT_PROBLEMS, Error};
use crate::output;

#[doc(hidden)]
pub use caa::check_answer as caa_answer;

/// The ports that authorities connect to.
const PORTS: [u16; 2] = [80, 443];
/// The time for a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// The addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Bytes of resolv.conf(5) that are read.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    identifier: Identifier,
    /// The domain of the authority in CAA records.
    authority: String,
    /// The addresses of the name, or why there are none.
    addresses: Result<Vec<Address>, String>,
    /// The records that count, with the name that has them. An address has none.
    caa: Result<Option<(String, Vec<caa::Record>)>, String>,
}

/// An address, and what became of connections to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    /// It is one of this machine's.
    is_own: bool,
    /// For each port: it is open, or the reason that it could not be connected to.
    ports: Vec<(u16, Result<(), String>)>,
}

/// Checks a name, and prints what was found. The code is 3 where something keeps an authority from
/// certifying it.
///
/// # Errors
/// It is no name that an authority certifies, or the resolver is no address.
pub(super) fn run(name: &str, authority: &str, resolver: Option<&str>) -> Result<ExitCode, Error> {
    let identifier = Identifier::parse(name).map_err(|why| {
        Error::new(format!("no authority certifies {}", crate::error::printable(name.as_ref()))).cause(why)
    })?;
    let resolvers = match resolver {
        Some(text) => vec![read_resolver(text)?],
        None => caa::resolvers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
    };
    let found = facts(identifier, authority, &resolvers);
    let (text, is_fine) = report(&found);
    output::print(&text)?;
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::from(EXIT_PROBLEMS) })
}

fn read_resolver(text: &str) -> Result<SocketAddr, Error> {
    let address = text.parse::<IpAddr>().map(|ip| (ip, 53).into()).or_else(|_| text.parse());
    address.map_err(|_| {
        Error::new("--resolver wants the address of a DNS server").hint("for example: --resolver 9.9.9.9")
    })
}

fn facts(identifier: Identifier, authority: &str, resolvers: &[SocketAddr]) -> Facts {
    let addresses = match &identifier {
        Identifier::Ip(address) => Ok(vec![*address]),
        Identifier::Dns(_) => resolve(identifier.domain().unwrap_or_default()),
    };
    let caa = match identifier.domain() {
        Some(domain) => caa::find(domain, resolvers, &mut random),
        None => Ok(None),
    };
    let addresses = addresses.map(|all| {
        let looks = all.into_iter().map(|ip| thread::spawn(move || look(ip)));
        let looks: Vec<_> = looks.collect();
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    });
    Facts { identifier, authority: authority.to_owned(), addresses, caa }
}

fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut all: Vec<IpAddr> = Vec::new();
    for address in found.map(|address| address.ip().to_canonical()) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all.truncate(ADDRESSES_MAX);
    if all.is_empty() { Err("it has no address".to_owned()) } else { Ok(all) }
}

fn look(ip: IpAddr) -> Address {
    let connect = |port: u16| {
        let done = TcpStream::connect_timeout(&(ip, port).into(), PATIENCE);
        (port, done.map(drop).map_err(|error| error.to_string()))
    };
    // Only an address of its own can be bound.
    let is_own = UdpSocket::bind((ip, 0)).is_ok();
    Address { ip, is_own, ports: PORTS.into_iter().map(connect).collect() }
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // An answer is also held against the address that it comes from.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// Returns the text, and whether nothing keeps an authority from certifying the name.
fn report(facts: &Facts) -> (String, bool) {
    let Facts { identifier, authority, addresses, caa } = facts;
    let (mut text, mut is_fine) = (format!("{identifier}\n"), true);
    let mut problem = |text: &mut String, what: &str, hint: &str| {
        is_fine = false;
        let _ = write!(text, "  PROBLEM {what}\n          {hint}\n");
    };
    let domain = identifier.domain().unwrap_or_default();
    if identifier.is_wildcard() {
        text.push_str("  a wildcard is proved by dns-01 alone: ports and addresses do not matter\n");
    }
    match addresses {
        Err(why) if identifier.is_wildcard() => {
            let _ = writeln!(text, "  {domain} has no address: {why}");
        }
        Err(why) => problem(
            &mut text,
            &format!("{domain} does not resolve: {why}"),
            &format!("give it a record A or AAAA; see: dig +trace {domain} A"),
        ),
        Ok(all) => all.iter().for_each(|one| address(&mut text, one)),
    }
    let is_checked = !identifier.is_wildcard();
    for one in addresses.iter().flatten().filter(|one| is_checked && !is_public(one.ip)) {
        problem(
            &mut text,
            &format!("{} is no public address", one.ip),
            "a public authority cannot reach it; one of your own may",
        );
    }
    let is_reached = |one: &Address| one.ports.iter().any(|(_, port)| port.is_ok());
    if is_checked && addresses.as_ref().is_ok_and(|all| !all.iter().any(is_reached)) {
        problem(
            &mut text,
            "neither port 80 nor port 443 answers",
            "start the server, or open a port; behind a NAT this can fail from inside alone",
        );
    }
    match caa {
        Err(why) => {
            problem(
                &mut text,
                &format!("CAA records cannot be asked for: {why}"),
                &format!("see: dig {domain} CAA"),
            );
        }
        Ok(None) if domain.is_empty() => {}
        Ok(None) => text.push_str("  no CAA record: any authority may certify it\n"),
        Ok(Some((at, records))) => {
            for record in records {
                let _ = writeln!(text, "  CAA of {at}: {}", caa::shown(record));
            }
            if !caa::permits(records, identifier.is_wildcard(), authority) {
                let tag = if identifier.is_wildcard() { "issuewild" } else { "issue" };
                problem(
                    &mut text,
                    &format!("{authority} may not certify it"),
                    &format!("add the record: {at} CAA 0 {tag} \"{authority}\""),
                );
            }
        }
    }
    if is_fine {
        text.push_str("  nothing that keeps an authority from certifying it was found from here\n");
    }
    (text, is_fine)
}

fn address(text: &mut String, one: &Address) {
    let whose =
        if one.is_own { "an address of this machine" } else { "an address of another machine, or in front" };
    let _ = writeln!(text, "  {}  {whose}", one.ip);
    for (port, outcome) in &one.ports {
        let outcome =
            outcome.as_ref().map_or_else(|why| format!("closed from here: {why}"), |()| "open".to_owned());
        let _ = writeln!(text, "    port {port}  {outcome}");
    }
}

/// Whether an address may be reached from everywhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_documentation()
                || v4.is_broadcast()
                || is_shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.segments().starts_with(&[0x2001, 0xdb8]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, ports: [Result<(), String>; 2]) -> Address {
        let ports = PORTS.into_iter().zip(ports).collect();
        Address { ip: ip.parse().unwrap(), is_own: true, ports }
    }

    fn facts(name: &str, addresses: Result<Vec<Address>, String>) -> Facts {
        let identifier = Identifier::parse(name).unwrap();
        Facts { identifier, authority: "letsencrypt.org".into(), addresses, caa: Ok(None) }
    }

    fn issue(value: &str) -> caa::Record {
        caa::Record { is_critical: false, tag: "issue".into(), value: value.into() }
    }

    #[test]
    fn a_name_that_can_be_certified() {
        let refused = Err("Connection refused (os error 111)".to_owned());
        let mut found = facts("a.example", Ok(vec![address("9.9.9.9", [refused, Ok(())])]));
        found.caa = Ok(Some(("example".into(), vec![issue("letsencrypt.org")])));
        let expected = "\
a.example
  9.9.9.9  an address of this machine
    port 80  closed from here: Connection refused (os error 111)
    port 443  open
  CAA of example: 0 issue \"letsencrypt.org\"
  nothing that keeps an authority from certifying it was found from here
";
        assert_eq!(report(&found), (expected.to_owned(), true));
    }

    #[test]
    fn what_is_wrong_with_a_name() {
        let closed = || Err("connection timed out".to_owned());
        let mut found = facts("a.example", Ok(vec![address("192.168.0.7", [closed(), closed()])]));
        found.caa = Ok(Some(("a.example".into(), vec![issue("ca.example")])));
        let expected = "\
a.example
  192.168.0.7  an address of this machine
    port 80  closed from here: connection timed out
    port 443  closed from here: connection timed out
  PROBLEM 192.168.0.7 is no public address
          a public authority cannot reach it; one of your own may
  PROBLEM neither port 80 nor port 443 answers
          start the server, or open a port; behind a NAT this can fail from inside alone
  CAA of a.example: 0 issue \"ca.example\"
  PROBLEM letsencrypt.org may not certify it
          add the record: a.example CAA 0 issue \"letsencrypt.org\"
";
        assert_eq!(report(&found), (expected.to_owned(), false));
        let mut found = facts("b.example", Err("failed to lookup address".into()));
        found.caa = Err("the resolver 192.0.2.1:53 does not answer: timed out".into());
        let expected = "\
b.example
  PROBLEM b.example does not resolve: failed to lookup address
          give it a record A or AAAA; see: dig +trace b.example A
  PROBLEM CAA records cannot be asked for: the resolver 192.0.2.1:53 does not answer: timed out
          see: dig b.example CAA
";
        assert_eq!(report(&found), (expected.to_owned(), false));
    }

    #[test]
    fn wildcards_and_addresses() {
        let expected = "\
*.a.example
  a wildcard is proved by dns-01 alone: ports and addresses do not matter
  a.example has no address: none
  no CAA record: any authority may certify it
  nothing that keeps an authority from certifying it was found from here
";
        assert_eq!(report(&facts("*.a.example", Err("none".into()))), (expected.to_owned(), true));
        let expected = "\
9.9.9.9
  9.9.9.9  an address of this machine
    port 80  open
    port 443  open
  nothing that keeps an authority from certifying it was found from here
";
        let found = facts("9.9.9.9", Ok(vec![address("9.9.9.9", [Ok(()), Ok(())])]));
        assert_eq!(report(&found), (expected.to_owned(), true));
    }

    #[test]
    fn addresses_that_no_public_authority_reaches() {
        for (ip, is_reached) in [
            ("9.9.9.9", true),
            ("2620:fe::fe", true),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("169.254.1.1", false),
            ("127.0.0.1", false),
            ("192.0.2.7", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), is_reached, "{ip}");
        }
    }

    /// A server of names for one question after the other.
    #[test]
    fn records_are_asked_for_up_the_tree() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = server.local_addr().unwrap();
        let serve = thread::spawn(move || {
            let mut asked = Vec::new();
            for _ in 0..2 {
                let mut room = [0; 512];
                let (len, from) = server.recv_from(&mut room).unwrap();
                let question = &room[12..len - 4];
                let mut answer = room[..len].to_vec();
                (answer[2], answer[3]) = (0x81, 0x80);
                asked.push(question.to_vec());
                if question == b"\x07example\0" {
                    answer[7] = 1;
                    answer.extend_from_slice(b"\xc0\x0c\x01\x01\0\x01\0\0\0\x3c\0\x11\0\x05issueca.example");
                }
                server.send_to(&answer, from).unwrap();
            }
            asked
        });
        let found = caa::find("a.example", &[at], &mut || 7).unwrap();
        assert_eq!(found, Some(("example".to_owned(), vec![issue("ca.example")])));
        assert_eq!(serve.join().unwrap(), [&b"\x01a\x07example\0"[..], b"\x07example\0"]);
    }
}
