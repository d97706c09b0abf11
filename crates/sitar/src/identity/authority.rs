//! The authority: born, signs once, dies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

use super::store::Files;
use super::{NAMES, VALIDITY};

/// Clocks of containers and virtual machines differ a little: a certificate starts an hour before
/// it is made.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// The organization in every certificate.
pub(super) const ORGANIZATION: &str = "sitar";
/// The name of every authority, without the identifier of its key.
pub(super) const COMMON_NAME: &str = "sitar local authority";
/// The algorithm of both keys.
pub(super) static ALGORITHM: &SignatureAlgorithm = &PKCS_ECDSA_P256_SHA256;

/// Makes an authority, signs one certificate for this machine with it, and wipes the authority's
/// key.
pub(super) fn issue(since_epoch: Duration) -> Result<Files, IssueError> {
    let authority = Authority::new(since_epoch)?;
    let (leaf, mut key) = authority.sign(&NAMES)?;
    let files = Files {
        ca: authority.certificate()?.pem().into_bytes(),
        chain: leaf.pem().into_bytes(),
        key: Zeroizing::new(key.serialize_pem().into_bytes()),
    };
    key.zeroize();
    Ok(files)
}

/// The reason that no certificate could be made.
#[derive(Debug)]
pub(super) enum IssueError {
    /// The clock shows a time that no certificate can hold.
    Clock,
    Generate(rcgen::Error),
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> IssueError {
        IssueError::Generate(error)
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssueError::Clock => f.write_str("the clock shows a time that no certificate can hold"),
            IssueError::Generate(error) => error.fmt(f),
        }
    }
}

/// The span of time that the authority and its certificate share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    start: OffsetDateTime,
    end: OffsetDateTime,
}

impl Validity {
    /// Returns the span of an identity made at that moment.
    fn at(since_epoch: Duration) -> Result<Validity, IssueError> {
        let seconds =
            i64::try_from(since_epoch.saturating_sub(BACKDATE).as_secs()).map_err(|_| IssueError::Clock)?;
        let start = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Clock)?;
        Validity::starting(start).ok_or(IssueError::Clock)
    }

    /// Returns the span of an identity whose certificates start at that time.
    pub(super) fn starting(start: OffsetDateTime) -> Option<Validity> {
        let length = time::Duration::try_from(VALIDITY).ok()?;
        Some(Validity { start, end: start.checked_add(length)? })
    }
}

/// A certificate authority limited to this machine.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    validity: Validity,
}

impl Authority {
    pub(super) fn new(since_epoch: Duration) -> Result<Authority, IssueError> {
        let key = KeyPair::generate_for(ALGORITHM)?;
        let validity = Validity::at(since_epoch)?;
        Ok(Authority { params: authority_params(&key, validity), key, validity })
    }

    pub(super) fn certificate(&self) -> Result<Certificate, IssueError> {
        Ok(self.params.self_signed(&self.key)?)
    }

    /// A server certificate for `names`, valid as long as the authority. Whether the constraints
    /// allow the names is the verifier's business.
    pub(super) fn sign(&self, names: &[&str]) -> Result<(Certificate, KeyPair), IssueError> {
        let key = KeyPair::generate_for(ALGORITHM)?;
        let params = server_params(names, self.validity)?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok((certificate, key))
    }
}

/// Returns everything in the authority's certificate but the signature.
pub(super) fn authority_params(key: &impl PublicKeyData, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    // A name of its own for each authority: verifiers look issuers up by name, and after a renewal
    // a client may still know the one before.
    let id: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = name(&format!("{COMMON_NAME} {id}"));
    (params.not_before, params.not_after) = (validity.start, validity.end);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // RFC 5280 §4.2.1.10; rcgen marks it critical, so a client that does not know the extension
    // refuses the authority instead of trusting it for every name. "localhost" covers the names
    // below it, too.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
                8,
            )),
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)),
        ],
        excluded_subtrees: Vec::new(),
    });
    params
}

/// Returns everything in a server's certificate but the keys and the signature.
pub(super) fn server_params(names: &[&str], validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name("sitar on localhost");
    (params.not_before, params.not_after) = (validity.start, validity.end);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl Drop for Authority {
    fn drop(&mut self) {
        // The encoded copy is wiped here; the parsed one is wiped by aws-lc when it is freed.
        self.key.zeroize();
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    name.push(DnType::CommonName, common_name);
    name
}
