//! Files that another user may have put into the directory are refused or renewed, and nothing
//! outside is touched.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::str::FromStr;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use rustix::fs::{CWD, Mode};
use time::OffsetDateTime;

use super::*;

const IP_ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

fn subtree(text: &str) -> GeneralSubtree {
    match CidrSubnet::from_str(text) {
        Ok(subnet) => GeneralSubtree::IpAddress(subnet),
        Err(_) => GeneralSubtree::DnsName(text.to_owned()),
    }
}

fn limits(permitted: &[&str], excluded: &[&str]) -> Option<NameConstraints> {
    let all = |list: &[&str]| list.iter().map(|text| subtree(text)).collect();
    Some(NameConstraints { permitted_subtrees: all(permitted), excluded_subtrees: all(excluded) })
}

type Change = fn(&mut CertificateParams);
/// An edit of the text of ca.pem and cert.pem.
type Edit = fn(&mut String, &mut String);

/// The files of another program that imitates sitar and keeps the authority's key.
struct Imitation {
    algorithm: &'static SignatureAlgorithm,
    authority: Change,
    server: Change,
    files: Edit,
}

const EXACT: Imitation =
    Imitation { algorithm: &PKCS_ECDSA_P256_SHA256, authority: |_| {}, server: |_| {}, files: |_, _| {} };

fn put(directory: &Path, imitation: &Imitation) {
    let start = OffsetDateTime::from_unix_timestamp(1_767_222_000).unwrap();
    let end = start + time::Duration::days(397);
    let key = KeyPair::generate_for(imitation.algorithm).unwrap();
    let mut authority = CertificateParams::default();
    let id: String =
        authority.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(DnType::OrganizationName, "sitar");
    authority.distinguished_name.push(DnType::CommonName, format!("sitar local authority {id}"));
    (authority.not_before, authority.not_after) = (start, end);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.name_constraints = limits(&["localhost", "127.0.0.0/8", "::1/128"], &[]);
    (imitation.authority)(&mut authority);

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let server_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut server = CertificateParams::new(names).unwrap();
    server.distinguished_name = rcgen::DistinguishedName::new();
    server.distinguished_name.push(DnType::OrganizationName, "sitar");
    server.distinguished_name.push(DnType::CommonName, "sitar on localhost");
    (server.not_before, server.not_after) = (start, end);
    server.is_ca = IsCa::ExplicitNoCa;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    (imitation.server)(&mut server);

    let authority_pem = authority.self_signed(&key).as_ref().map(Certificate::pem).unwrap();
    let server_pem = server.signed_by(&server_key, &Issuer::from_params(&authority, &key)).unwrap().pem();
    let (mut ca, mut chain) = (authority_pem, server_pem);
    (imitation.files)(&mut ca, &mut chain);

    let local = directory.join("local");
    fs::DirBuilder::new().mode(0o700).create(&local).unwrap();
    for (name, text) in [("ca.pem", ca), ("cert.pem", chain), ("key.pem", server_key.serialize_pem())] {
        fs::write(local.join(name), text).unwrap();
        fs::set_permissions(local.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn an_imitation_that_is_exact_is_accepted() {
    let root = folder();
    put(root.path(), &EXACT);
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Reused, "or the other tests prove nothing");
}

#[test]
fn an_authority_with_other_limits_than_ours_is_renewed() {
    let authorities: [(&str, Change); 18] = [
        ("no limits that limit", |ca| ca.name_constraints = limits(&["", IP_ALL[0], IP_ALL[1]], &[])),
        ("one more name", |ca| {
            ca.name_constraints = limits(&["localhost", "bank.example", "127.0.0.0/8", "::1/128"], &[]);
        }),
        ("another order", |ca| {
            ca.name_constraints = limits(&["127.0.0.0/8", "localhost", "::1/128"], &[]);
        }),
        ("a larger network", |ca| {
            ca.name_constraints = limits(&["localhost", "126.0.0.0/7", "::1/128"], &[]);
        }),
        ("a larger network of IPv6", |ca| {
            ca.name_constraints = limits(&["localhost", "127.0.0.0/8", "::/0"], &[]);
        }),
        ("names without limits", |ca| ca.name_constraints = limits(&["127.0.0.0/8", "::1/128"], &[])),
        ("addresses without limits", |ca| ca.name_constraints = limits(&["localhost"], &[])),
        ("something excluded", |ca| {
            ca.name_constraints = limits(&["localhost", "127.0.0.0/8", "::1/128"], &["bank.example"]);
        }),
        ("only something excluded", |ca| ca.name_constraints = limits(&[], &["bank.example"])),
        ("authorities below it", |ca| ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))),
        ("any number below it", |ca| ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("one more usage", |ca| ca.key_usages.push(KeyUsagePurpose::DigitalSignature)),
        ("no usage", |ca| ca.key_usages.clear()),
        ("an extended usage", |ca| ca.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
        ("one more extension", |ca| {
            // 2.16.840.1.113730.1.13, Netscape's comment: an IA5String.
            let oid = [2, 16, 840, 1, 113_730, 1, 13];
            ca.custom_extensions.push(CustomExtension::from_oid_content(&oid, vec![0x16, 2, b'h', b'i']));
        }),
        ("another serial number", |ca| ca.serial_number = Some(1_u64.into())),
        ("another name", |ca| ca.distinguished_name.push(DnType::CommonName, "Example Root CA")),
        ("a century", |ca| ca.not_after = ca.not_before + time::Duration::days(36_500)),
    ];
    for (what, authority) in authorities {
        let root = folder();
        put(root.path(), &Imitation { authority, ..EXACT });
        let planted = fs::read(root.path().join("local/ca.pem")).unwrap();
        let found = open(root.path(), at(0)).unwrap();
        assert_eq!(found.origin, Origin::Renewed(Defect::Foreign), "{what}");
        assert_ne!(found.ca_pem, planted, "{what}");
        assert_eq!(fs::read(&found.ca_path).unwrap(), found.ca_pem, "{what}");
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Reused, "{what}");
    }
}

#[test]
fn an_authority_with_another_algorithm_is_renewed() {
    let root = folder();
    put(root.path(), &Imitation { algorithm: &PKCS_ECDSA_P384_SHA384, ..EXACT });
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Foreign));
}

#[test]
fn a_certificate_that_is_not_as_ours_is_renewed() {
    let servers: [(&str, Change); 5] = [
        ("one more name", |server| {
            server.subject_alt_names.push(rcgen::SanType::DnsName("app.localhost".try_into().unwrap()));
        }),
        ("for clients too", |server| server.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth)),
        ("one more usage", |server| server.key_usages.push(KeyUsagePurpose::ContentCommitment)),
        ("another time", |server| server.not_after += time::Duration::days(1)),
        ("another subject", |server| server.distinguished_name.push(DnType::CommonName, "somewhere")),
    ];
    for (what, server) in servers {
        let root = folder();
        put(root.path(), &Imitation { server, ..EXACT });
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Foreign), "{what}");
    }
}

#[test]
fn a_second_certificate_in_a_file_is_not_installed_with_the_first() {
    let files: [(&str, Edit); 4] = [
        ("behind ours", |ca, _| ca.push_str(include_str!("../../trust/tests/stranger.pem"))),
        ("behind the server's", |_, chain| chain.push_str(include_str!("../../trust/tests/stranger.pem"))),
        ("a comment", |ca, _| ca.insert_str(0, "# mine\n")),
        ("other line ends", |ca, _| *ca = ca.replace('\n', "\r\n")),
    ];
    for (what, files) in files {
        let root = folder();
        put(root.path(), &Imitation { files, ..EXACT });
        let found = open(root.path(), at(0)).unwrap();
        assert_eq!(found.origin, Origin::Renewed(Defect::Foreign), "{what}");
        assert_eq!(found.ca_pem.windows(5).filter(|window| window == b"BEGIN").count(), 1, "{what}");
    }
}

/// A good identity somewhere else, and a directory that is empty yet.
fn elsewhere() -> (TempDir, PathBuf, PathBuf) {
    let root = folder();
    let (elsewhere, directory) = (root.path().join("elsewhere"), root.path().join("sitar"));
    fs::create_dir(&elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
    open(&elsewhere, at(0)).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
    (root, elsewhere, directory)
}

/// Everything below a directory: path, mode, size.
fn tree(directory: &Path) -> Vec<(PathBuf, u32, u64)> {
    let mut all = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if metadata.is_dir() {
                folders.push(path.clone());
            }
            all.push((path, metadata.mode(), if metadata.is_dir() { 0 } else { metadata.len() }));
        }
    }
    all.push((directory.to_owned(), fs::symlink_metadata(directory).unwrap().mode(), 0));
    all.sort();
    all
}

#[test]
fn links_inside_are_replaced_not_followed() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Defect, Plant); 4] = [
        ("local", Defect::Damaged, |from, to| symlink(from.join("local"), to.join("local")).unwrap()),
        ("local, leading nowhere", Defect::Damaged, |_, to| symlink("nowhere", to.join("local")).unwrap()),
        ("the files", Defect::Damaged, |from, to| {
            fs::DirBuilder::new().mode(0o700).create(to.join("local")).unwrap();
            for name in ["ca.pem", "cert.pem", "key.pem"] {
                symlink(from.join("local").join(name), to.join("local").join(name)).unwrap();
            }
        }),
        ("the files, by their i-nodes", Defect::Foreign, |from, to| {
            fs::DirBuilder::new().mode(0o700).create(to.join("local")).unwrap();
            for name in ["ca.pem", "cert.pem", "key.pem"] {
                fs::hard_link(from.join("local").join(name), to.join("local").join(name)).unwrap();
            }
        }),
    ];
    for (what, defect, plant) in plants {
        let (_root, elsewhere, directory) = elsewhere();
        plant(&elsewhere, &directory);
        let before = tree(&elsewhere);
        assert_eq!(open(&directory, at(0)).unwrap().origin, Origin::Renewed(defect), "{what}");
        assert_eq!(tree(&elsewhere), before, "{what}");
        assert!(directory.join("local").symlink_metadata().unwrap().is_dir(), "{what}");
        assert_eq!(open(&directory, at(0)).unwrap().origin, Origin::Reused, "{what}");
    }
}

#[test]
fn a_link_in_place_of_the_directory_is_refused() {
    let (root, elsewhere, directory) = elsewhere();
    fs::remove_dir(&directory).unwrap();
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap();
    for target in [&elsewhere, &empty, &root.path().join("nowhere")] {
        symlink(target, &directory).unwrap();
        let before = tree(root.path());
        let path = directory.display();
        assert_eq!(
            open(&directory, at(0)).unwrap_err().render(false),
            format!(
                "error: cannot keep a certificate in {path}\n\
                 \x20 cause: {path} is a symbolic link, and sitar follows none here\n\
                 \x20 hint: move it away: mv {path} {path}.old\n\
                 \x20 hint: use another directory: XDG_DATA_HOME=/path sitar …\n\
                 \x20 hint: or a certificate of your own: --tls-cert chain.pem --tls-key key.pem\n"
            )
        );
        assert_eq!(tree(root.path()), before);
        fs::remove_file(&directory).unwrap();
    }
}

#[test]
fn a_lock_that_is_something_else_is_refused() {
    type Plant = fn(&Path, &Path);
    let plants: [(&str, Plant); 5] = [
        ("is a symbolic link, and sitar follows none here", |victim, lock| {
            symlink(victim.with_file_name("made"), lock).unwrap();
        }),
        ("is a symbolic link, and sitar follows none here", |victim, lock| symlink(victim, lock).unwrap()),
        ("has a second name somewhere (a hard link)", |victim, lock| fs::hard_link(victim, lock).unwrap()),
        ("is a FIFO", |_, lock| rustix::fs::mkfifoat(CWD, lock, Mode::RWXU).unwrap()),
        ("is a directory, not a file", |_, lock| fs::create_dir(lock).unwrap()),
    ];
    for (what, plant) in plants {
        let root = folder();
        let directory = root.path().join("sitar");
        fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        plant(&victim, &directory.join("lock"));
        let before = tree(root.path());
        let text = open(&directory, at(0)).unwrap_err().render(false);
        let path = directory.display();
        let start = format!(
            "error: cannot keep a certificate in {path}\n  cause: {path}/lock {what}\n  hint: move it away: mv {path}/lock {path}/lock.old\n"
        );
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(tree(root.path()), before, "{what}");
    }
}

#[test]
fn a_fifo_does_not_make_it_wait() {
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        let root = folder();
        open(root.path(), at(0)).unwrap();
        let path = root.path().join("local").join(name);
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Renewed(Defect::Damaged), "{name}");
    }
}

#[test]
fn what_others_could_change_or_read_is_renewed() {
    for (name, mode) in [
        ("local", 0o770),
        ("local", 0o702),
        ("local/ca.pem", 0o620),
        ("local/ca.pem", 0o602),
        ("local/cert.pem", 0o666),
        ("local/key.pem", 0o640),
        ("local/key.pem", 0o604),
    ] {
        let root = folder();
        open(root.path(), at(0)).unwrap();
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            open(root.path(), at(0)).unwrap().origin,
            Origin::Renewed(Defect::Exposed),
            "{name} {mode:o}"
        );
        assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Reused, "{name} {mode:o}");
    }
    // The certificates are public.
    let root = folder();
    open(root.path(), at(0)).unwrap();
    for (name, mode) in [("local", 0o755), ("local/ca.pem", 0o644), ("local/cert.pem", 0o444)] {
        fs::set_permissions(root.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert_eq!(open(root.path(), at(0)).unwrap().origin, Origin::Reused);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    for mode in [0o770, 0o703, 0o1777] {
        let (_root, _, directory) = elsewhere();
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        let text = open(&directory, at(0)).unwrap_err().render(false);
        let path = directory.display();
        let cause = format!("  cause: others can write to {path} (mode {mode:04o})\n");
        assert!(text.contains(&cause), "{text}");
        assert_eq!(
            text.contains(&format!("  hint: let only its owner write: chmod go-w {path}\n")),
            mode < 0o1000
        );
        assert_eq!(super::mode(&directory), mode, "it is left as it is");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing is put there");
    }
}

#[test]
fn the_mode_of_a_directory_that_was_there_is_left() {
    let (_root, _, directory) = elsewhere();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(open(&directory, at(0)).unwrap().origin, Origin::Made);
    assert_eq!(mode(&directory), 0o755);
}

#[test]
fn what_sitar_did_not_make_is_not_removed() {
    let root = folder();
    let notes = root.path().join("local.old/notes");
    fs::create_dir_all(&notes).unwrap();
    fs::write(notes.join("today"), "precious").unwrap();
    let text = open(root.path(), at(0)).unwrap_err().render(false);
    let path = root.path().display();
    let start = format!(
        "error: cannot keep a certificate in {path}\n\
         \x20 cause: {path}/local.old: Directory not empty (os error 39)\n\
         \x20 hint: move away what sitar did not put there: ls -la {path}/local.old\n"
    );
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(fs::read_to_string(notes.join("today")).unwrap(), "precious");
}

#[test]
fn directories_above_are_made_for_this_user_alone() {
    let root = folder();
    open(&root.path().join("a/b/sitar"), at(0)).unwrap();
    for name in ["a", "a/b", "a/b/sitar"] {
        assert_eq!(mode(&root.path().join(name)), 0o700, "{name}");
    }
}

#[test]
fn the_path_that_is_shown_is_free_of_links() {
    let root = folder();
    fs::DirBuilder::new().mode(0o700).create(root.path().join("real")).unwrap();
    symlink("real", root.path().join("link")).unwrap();
    let made = open(&root.path().join("link/more/sitar"), at(0)).unwrap();
    assert_eq!(made.ca_path, fs::canonicalize(root.path()).unwrap().join("real/more/sitar/local/ca.pem"));
}
