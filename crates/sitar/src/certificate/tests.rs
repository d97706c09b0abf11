use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::*;

/// 2030-01-01T00:00:00Z.
const NEW_YEAR: u64 = 1_893_456_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NEW_YEAR)
}

/// Files of one pair that is good at [`NEW_YEAR`], in every form that people have: made once, by
/// openssl.
struct Forms {
    folder: TempDir,
}

impl Forms {
    fn get() -> &'static Forms {
        static FORMS: OnceLock<Forms> = OnceLock::new();
        FORMS.get_or_init(|| {
            let folder = TempDir::new().unwrap();
            let key = KeyPair::generate().unwrap();
            let own = params("own.test", &["own.test"]).self_signed(&key).unwrap();
            fs::write(folder.path().join("chain"), own.pem()).unwrap();
            fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
            sh(
                folder.path(),
                "openssl x509 -in chain -outform DER -out chain.der
                 openssl x509 -in chain -trustout -out chain.trusted
                 openssl crl2pkcs7 -nocrl -certfile chain -out chain.p7b
                 openssl crl2pkcs7 -nocrl -certfile chain -outform DER -out chain.p7c
                 openssl pkcs12 -export -in chain -inkey key -passout pass: -out both.p12
                 openssl req -new -key key -subj /CN=own.test -out request
                 openssl req -new -key key -subj /CN=own.test -outform DER -out request.der
                 openssl pkey -in key -pubout -out public
                 openssl pkey -in key -pubout -outform DER -out public.der
                 openssl pkey -in key -outform DER -out key.der
                 openssl pkey -in key -aes128 -passout pass: -out key.encrypted
                 openssl pkcs8 -in key -topk8 -v2 aes128 -passout pass: -outform DER -out key.encrypted.der
                 openssl pkey -in key -traditional -out key.sec1
                 iconv -f UTF-8 -t UTF-16LE chain > chain.utf16
                 iconv -f UTF-8 -t UTF-16 key > key.utf16
                 awk '{ printf \"%s\\\\n\", $0 }' chain > chain.escaped
                 tr -d '\\n' < chain > chain.joined
                 tr '\\n' ' ' < chain > chain.spaced
                 cat key chain > both",
            );
            Forms { folder }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Valid from 30 days before [`NEW_YEAR`] for 90 days.
fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    span(&mut params, -30, 60);
    params
}

/// Days before and after [`NEW_YEAR`].
fn span(params: &mut CertificateParams, from: i64, until: i64) {
    let start = OffsetDateTime::from_unix_timestamp(NEW_YEAR.try_into().unwrap()).unwrap();
    params.not_before = start + time::Duration::days(from);
    params.not_after = start + time::Duration::days(until);
}

fn sh(folder: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    let done = command.args(["-e", "-c", script]).current_dir(folder).output().expect("these tests need sh");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{script}\n{said}\nthese tests need openssl");
    said
}

fn files(chain: &Path, key: &Path) -> CertificateFiles {
    CertificateFiles { chain: chain.to_owned(), key: key.to_owned() }
}

/// Reads the files, and makes a certificate of them.
fn load(files: &CertificateFiles, now: SystemTime) -> Result<Loaded, Error> {
    let bytes = Bytes {
        chain: read_chain(files, PATIENCE, &mut |_| ()),
        key: read_key(files, PATIENCE, &mut |_| ()),
    };
    super::load(bytes, files, now)
}

fn refused(chain: &Path, key: &Path) -> String {
    load(&files(chain, key), now()).unwrap_err().render(false)
}

/// Returns the text of a refusal, with `D` for the folder.
fn refusal(chain: &str, key: &str) -> String {
    let forms = Forms::get();
    refused(&forms.path(chain), &forms.path(key)).replace(forms.folder.path().to_str().unwrap(), "D")
}

/// Follows the hints of a refusal, which are lines for a shell, with an empty passphrase, and
/// returns where `--tls-cert` and `--tls-key` are then.
fn follow(chain: &str, key: &str) -> (PathBuf, PathBuf) {
    let forms = Forms::get();
    let said = refused(&forms.path(chain), &forms.path(key));
    let mut made = (forms.path(chain), forms.path(key));
    for line in
        said.lines().filter_map(|line| line.split_once("openssl ").or_else(|| line.split_once("iconv ")))
    {
        let whole = if line.0.contains("ASCII") { "iconv " } else { "openssl " }.to_owned() + line.1;
        let pass = if whole.contains("pkcs12") || whole.contains("pkey") { " -passin pass:" } else { "" };
        sh(forms.folder.path(), &format!("{whole}{pass}"));
        let to = PathBuf::from(whole.rsplit_once(' ').unwrap().1);
        let of_key = whole.contains("pkey") || whole.contains("-nocerts") || (chain == "chain");
        *if of_key { &mut made.1 } else { &mut made.0 } = to;
    }
    made
}

#[test]
fn a_good_pair_is_taken_without_a_word() {
    let forms = Forms::get();
    for (chain, key) in [("chain", "key"), ("chain", "key.sec1"), ("both", "both"), ("chain", "both")] {
        let loaded = load(&files(&forms.path(chain), &forms.path(key)), now()).unwrap();
        assert_eq!(loaded.warnings, [""; 0], "{chain}, {key}");
        assert_eq!(loaded.report.names, ["own.test"]);
        assert_eq!(loaded.report.path, forms.path(chain));
        assert_eq!(loaded.report.fingerprint.len(), 95);
    }
}

#[test]
fn each_form_gets_the_command_that_mends_it() {
    let no_chain = |name: &str, what: &str| {
        format!(
            "error: cannot use the certificate D/{name}\n\
             \x20 cause: there is no certificate in it (no BEGIN CERTIFICATE line): it holds {what}\n"
        )
    };
    let no_key = |name: &str, what: &str| {
        format!(
            "error: cannot use the key D/{name}\n\
             \x20 cause: there is no private key in it (no BEGIN PRIVATE KEY line): it holds {what}\n"
        )
    };
    let archive = "  hint: take the certificates out: openssl pkcs12 -in D/both.p12 -nokeys -out D/both.chain.pem\n\
                   \x20 hint: and the key: openssl pkcs12 -in D/both.p12 -nocerts -nodes -out D/both.key.pem\n\
                   \x20 hint: an old archive may need -legacy in both\n\
                   \x20 hint: then give: --tls-cert D/both.chain.pem --tls-key D/both.key.pem\n";
    for (chain, key, expected) in [
        (
            "chain.der",
            "key",
            no_chain("chain.der", "a certificate in DER, not in PEM")
                + "  hint: make it PEM: openssl x509 -inform DER -in D/chain.der -out D/chain.new.pem\n",
        ),
        (
            "chain.trusted",
            "key",
            no_chain("chain.trusted", "a certificate in OpenSSL's own form")
                + "  hint: make it PEM: openssl x509 -in D/chain.trusted -out D/chain.new.pem\n",
        ),
        (
            "chain.p7b",
            "key",
            no_chain("chain.p7b", "a PKCS #7 message (.p7b)")
                + "  hint: make it PEM: openssl pkcs7 -print_certs -in D/chain.p7b -out D/chain.new.pem\n",
        ),
        (
            "chain.p7c",
            "key",
            no_chain("chain.p7c", "a PKCS #7 message (.p7b) in DER, not in PEM")
                + "  hint: make it PEM: openssl pkcs7 -inform DER -print_certs -in D/chain.p7c -out D/chain.new.pem\n",
        ),
        ("both.p12", "both.p12", no_chain("both.p12", "a PKCS #12 archive (.p12, .pfx)") + archive),
        (
            "chain.utf16",
            "key",
            no_chain("chain.utf16", "UTF-16 text, where PEM is ASCII")
                + "  hint: make it ASCII: iconv -f UTF-16LE -t UTF-8 < D/chain.utf16 > D/chain.new.pem\n",
        ),
        (
            "chain",
            "key.utf16",
            no_key("key.utf16", "UTF-16 text, where PEM is ASCII")
                + "  hint: make it ASCII: iconv -f UTF-16LE -t UTF-8 < D/key.utf16 > D/key.new.pem\n",
        ),
        (
            "chain",
            "key.der",
            no_key("key.der", "a private key in DER, not in PEM")
                + "  hint: make it PEM: openssl pkey -inform DER -in D/key.der -out D/key.new.pem\n",
        ),
        (
            "chain",
            "key.encrypted",
            "error: cannot use the key D/key.encrypted\n\
             \x20 cause: the private key is protected by a passphrase\n\
             \x20 hint: take the passphrase off: openssl pkey -in D/key.encrypted -out D/key.new.pem\n"
                .to_owned(),
        ),
        (
            "chain",
            "key.encrypted.der",
            no_key("key.encrypted.der", "a private key under a passphrase in DER, not in PEM")
                + "  hint: take the passphrase off: openssl pkey -inform DER -in D/key.encrypted.der \
                   -out D/key.encrypted.new.pem\n",
        ),
    ] {
        assert_eq!(refusal(chain, key), expected);
        let (made_chain, made_key) = follow(chain, key);
        let loaded =
            load(&files(&made_chain, &made_key), now()).unwrap_or_else(|error| panic!("{chain}: {error}"));
        assert_eq!(loaded.report.names, ["own.test"], "{chain}");
    }
    // An escaped one: the command is the shell's own.
    let said = refusal("chain.escaped", "key");
    assert!(said.ends_with(
        "hint: give it its lines back: printf '%b' \"$(cat < D/chain.escaped)\" > D/chain.new.pem\n"
    ));
    let forms = Forms::get();
    sh(forms.folder.path(), "printf '%b' \"$(cat < chain.escaped)\" > unescaped");
    assert!(load(&files(&forms.path("unescaped"), &forms.path("key")), now()).is_ok());
    for name in ["chain.joined", "chain.spaced"] {
        let said = refusal(name, "key");
        let hint = format!(
            "  cause: there is no certificate in it (no BEGIN CERTIFICATE line): it holds PEM in one line, without its line \
             ends\n\
             \x20 hint: give it its lines back: sed -E 's/ *(-----[A-Z ]+-----) */\\n\\1\\n/g' < D/{name} > \
             D/chain.new.pem\n"
        );
        assert!(said.ends_with(&hint), "{said}");
        sh(forms.folder.path(), &format!("sed -E 's/ *(-----[A-Z ]+-----) */\\n\\1\\n/g' < {name} > lines"));
        assert!(load(&files(&forms.path("lines"), &forms.path("key")), now()).is_ok(), "{name}");
    }
}

#[test]
fn what_is_no_certificate_or_no_key_is_named() {
    for (chain, key, expected) in [
        (
            "key",
            "chain",
            "error: --tls-cert and --tls-key are swapped\n\
             \x20 cause: D/key holds a private key, and D/chain a certificate\n\
             \x20 hint: type: --tls-cert D/chain --tls-key D/key\n",
        ),
        (
            "request",
            "key",
            "error: cannot use the certificate D/request\n\
             \x20 cause: there is no certificate in it (no BEGIN CERTIFICATE line): it holds a certificate request (CSR), \
             which an authority makes a certificate of\n\
             \x20 hint: send it to your authority, and give what comes back\n\
             \x20 hint: for a test: openssl req -x509 -in D/request -key D/key -days 90 \
             -addext subjectAltName=DNS:localhost -out D/request.new.pem\n",
        ),
        (
            "public",
            "key",
            "error: cannot use the certificate D/public\n\
             \x20 cause: there is no certificate in it (no BEGIN CERTIFICATE line): it holds a public key\n\
             \x20 hint: --tls-cert takes the server's own certificate and the ones that certify it (Let's Encrypt: \
             fullchain.pem)\n",
        ),
        (
            "chain",
            "public.der",
            "error: cannot use the key D/public.der\n\
             \x20 cause: there is no private key in it (no BEGIN PRIVATE KEY line): it holds a public key in DER, not in \
             PEM\n\
             \x20 hint: --tls-key takes the private key that the certificate was issued for (Let's Encrypt: privkey.pem)\n",
        ),
        (
            "chain",
            "chain",
            "error: cannot use the key D/chain\n\
             \x20 cause: there is no private key in it (no BEGIN PRIVATE KEY line): it holds a certificate\n\
             \x20 hint: --tls-key takes the private key that the certificate was issued for (Let's Encrypt: privkey.pem)\n",
        ),
    ] {
        assert_eq!(refusal(chain, key), expected);
    }
    let said = refusal("request.der", "key");
    assert!(said.contains("openssl req -x509 -inform DER -in D/request.der -key D/key"), "{said}");
    // The commands for a test make certificates that can be served.
    let forms = Forms::get();
    for request in ["request", "request.der"] {
        let (chain, _) = follow(request, "key");
        let loaded = load(&files(&chain, &forms.path("key")), SystemTime::now()).unwrap();
        assert_eq!((loaded.report.names, loaded.warnings), (vec!["localhost".to_owned()], vec![]));
    }
}

#[test]
fn names_of_files_are_quoted() {
    let folder = TempDir::new().unwrap();
    let odd = folder.path().join("it's $HOME.der");
    fs::copy(Forms::get().path("chain.der"), &odd).unwrap();
    let said = refused(&odd, &Forms::get().path("key"));
    let path = folder.path().display();
    let hint = format!(
        "openssl x509 -inform DER -in '{path}/it'\\''s $HOME.der' -out '{path}/it'\\''s $HOME.new.pem'\n"
    );
    assert!(said.ends_with(&hint), "{said}");
    sh(folder.path(), &hint);
    assert!(
        load(&files(&folder.path().join("it's $HOME.new.pem"), &Forms::get().path("key")), now()).is_ok()
    );
}

#[test]
fn keys_that_nothing_accepts() {
    let forms = Forms::get();
    for (name, script, kind) in [
        ("rsa", "openssl genrsa -out rsa 1024", "RSA with 1024 bits"),
        ("k1", "openssl ecparam -genkey -name secp256k1 -out k1", "ECDSA on the curve secp256k1"),
        ("ed448", "openssl genpkey -algorithm ed448 -out ed448", "Ed448"),
    ] {
        sh(forms.folder.path(), script);
        assert_eq!(
            refusal("chain", name),
            format!(
                "error: cannot use the key D/{name}\n\
                 \x20 cause: the private key is {kind}; what clients accept is RSA with 2048 to 8192 bits, ECDSA on \
                 P-256, P-384 or P-521, and Ed25519\n\
                 \x20 hint: make another: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
                 -out D/{name}.new.pem\n\
                 \x20 hint: and have the certificate issued again for it\n"
            )
        );
    }
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(forms.path("other"), other).unwrap();
    assert_eq!(
        refusal("chain", "other"),
        "error: cannot use certificate D/chain with key D/other\n\
         \x20 cause: the private key does not belong to the certificate\n\
         \x20 hint: these print the same where they belong together: openssl x509 -noout -pubkey -in D/chain\n\
         \x20 hint: and: openssl pkey -pubout -in D/other\n"
    );
    sh(forms.folder.path(), "openssl x509 -req -in request -signkey key -days 1 -out version1");
    assert_eq!(
        refusal("version1", "key"),
        "error: cannot use the certificate D/version1\n\
         \x20 cause: the certificate is of X.509 version 1, which can name no host, and which clients refuse\n\
         \x20 hint: have it issued again with names: as openssl x509 -req makes it only with -extfile\n\
         \x20 hint: for a test: openssl req -x509 -key D/key -days 90 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -out D/version1.new.pem\n"
    );
}

#[test]
fn certificates_that_clients_cannot_take() {
    let forms = Forms::get();
    // A curve whose numbers stand in the certificate; and an extension that must be known.
    sh(
        forms.folder.path(),
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out written.key
         openssl req -x509 -key written.key -days 90 -subj /CN=own.test -addext subjectAltName=DNS:own.test -out written
         openssl req -x509 -key key -days 90 -subj /CN=own.test -addext 1.2.3.4=critical,ASN1:NULL -out critical
         openssl req -x509 -key key -days 90 -subj /CN=own.test -addext subjectAltName=DNS:own.test \
             -addext extendedKeyUsage=clientAuth -out client",
    );
    let said = refusal("written", "written.key");
    assert!(
        said.contains("  cause: the private key is ECDSA on a curve that is written out instead of named; "),
        "{said}"
    );
    assert_eq!(
        refusal("critical", "key"),
        "error: cannot use the certificate D/critical\n\
         \x20 cause: the certificate has a critical extension of a kind that clients do not know, so they refuse it\n\
         \x20 hint: have it issued again without that extension\n"
    );
    // Also where openssl makes it an authority, as it does unasked.
    let loaded = load(&files(&forms.path("client"), &forms.path("key")), SystemTime::now()).unwrap();
    let path = forms.path("client");
    assert_eq!(
        loaded.warnings,
        [format!(
            "the certificate {} is not for servers (extendedKeyUsage lacks serverAuth): clients refuse it; have it \
             issued again for a server",
            path.display()
        )]
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let key = Forms::get().path("key");
    let said = |name: &str| refused(&path.join(name), &key).replace(path.to_str().unwrap(), "D");
    let holds_nothing = "error: cannot use the certificate D/empty\n\
                         \x20 cause: there is no certificate in it (no BEGIN CERTIFICATE line): it holds nothing\n";
    fs::write(path.join("empty"), "").unwrap();
    assert!(said("empty").starts_with(holds_nothing), "{}", said("empty"));
    assert_eq!(
        said("no.pem"),
        "error: cannot read the certificate D/no.pem\n\
         \x20 cause: No such file or directory (os error 2)\n\
         \x20 hint: check the path: ls -l D/no.pem\n"
    );
    fs::create_dir(path.join("live")).unwrap();
    assert_eq!(
        said("live"),
        "error: cannot read the certificate D/live\n\
         \x20 cause: it is a folder\n\
         \x20 hint: name the file in it, for instance D/live/fullchain.pem\n"
    );
    let endless = refused(Path::new("/dev/zero"), &key);
    assert!(endless.contains("  cause: it is larger than 1048576 bytes\n"), "{endless}");
    assert!(refused(Path::new("/dev/null"), &key).contains(": it holds nothing\n"));
    let socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    assert!(said("socket").contains("  hint: see what it is: ls -ld D/socket\n"), "{}", said("socket"));
    drop(socket);
    // A bundle of authorities: many certificates, and none that the key belongs to.
    let many: String = (0..33).map(|_| fs::read_to_string(Forms::get().path("chain")).unwrap()).collect();
    fs::write(path.join("bundle"), many).unwrap();
    assert_eq!(
        said("bundle"),
        "error: cannot use the certificate D/bundle\n\
         \x20 cause: it holds more certificates than any client takes (32 or 49152 bytes): a chain is the server's own and \
         the few that certify it\n\
         \x20 hint: give the file that was issued for this server (Let's Encrypt: fullchain.pem), and no bundle of \
         authorities\n"
    );
}

#[test]
fn a_file_that_this_user_may_not_read_says_who_asks() {
    let denied = std::io::ErrorKind::PermissionDenied.into();
    assert_eq!(
        read::hint(&denied, "/etc/key.pem", 998),
        "see who may read it, and who may pass the folders above; this is uid 998: namei -l /etc/key.pem"
    );
}

#[test]
fn a_fifo_is_read_to_its_end_and_not_waited_for_without_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fifo");
    mkfifoat(CWD, &path, Mode::RWXU).unwrap();
    let error = read::read(&path, "key", Duration::from_millis(20), &mut |_| ()).unwrap_err().render(false);
    assert_eq!(
        error.replace(folder.path().to_str().unwrap(), "D"),
        "error: cannot read the key D/fifo\n\
         \x20 cause: it is a FIFO, and no program writes to it to the end\n\
         \x20 hint: name a file, or write to it: cat FILE > D/fifo\n"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&path, "a key").unwrap());
        assert_eq!(read::read(&path, "key", PATIENCE, &mut |_| ()).unwrap().as_slice(), b"a key");
    });
}

#[test]
fn a_device_that_says_nothing_is_no_fifo() {
    let path = Path::new("/dev/ptmx");
    let Err(error) = read::read(path, "key", Duration::from_millis(20), &mut |_| ()) else {
        panic!("a terminal was read")
    };
    // Without terminals it cannot be opened, which is another sentence.
    let text = error.render(false);
    if !text.contains("(os error ") {
        assert_eq!(
            text,
            "error: cannot read the key /dev/ptmx\n\
             \x20 cause: it is no file, and nothing more comes from it\n\
             \x20 hint: name a file; see what it is: ls -ld /dev/ptmx\n"
        );
    }
}

/// The warnings about a certificate, with `F` for its file and `K` for the key's.
fn warned(pem: &str, key: &KeyPair) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let [chain, key_file] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&chain, pem).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let loaded = load(&files(&chain, &key_file), now()).unwrap();
    let place = |text: String| text.replace(&format!("{}/", folder.path().display()), "D/");
    loaded.warnings.into_iter().map(place).collect()
}

#[test]
fn what_clients_object_to_is_warned_of() {
    let key = KeyPair::generate().unwrap();
    let dated = |from, until| {
        let mut params = params("own.test", &["own.test"]);
        span(&mut params, from, until);
        warned(&params.self_signed(&key).unwrap().pem(), &key)
    };
    assert_eq!(
        dated(-30, -1),
        ["the certificate D/chain.pem expired on 2029-12-31, and clients refuse it; renew it"]
    );
    assert_eq!(dated(-80, 10), ["the certificate D/chain.pem expires on 2030-01-11, in 10 days; renew it"]);
    assert_eq!(dated(-89, 1), ["the certificate D/chain.pem expires on 2030-01-02, in 1 day; renew it"]);
    assert_eq!(
        dated(3, 90),
        [
            "certificate 1 of D/chain.pem is not valid before 2030-01-04, and clients refuse it until then; is the clock \
          right? See: timedatectl"
        ]
    );
    assert_eq!(
        warned(&params("own.test", &[]).self_signed(&key).unwrap().pem(), &key),
        [
            "the certificate D/chain.pem names no host (no DNS name or IP address in subjectAltName), and its common name \"own.test\" does not \
          count: clients refuse it; have it issued again with its names, for a test: openssl req -x509 -key D/key.pem \
          -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost -out D/chain.new.pem"
        ]
    );
    let root_key = KeyPair::generate().unwrap();
    let mut root = params("Example Root", &[]);
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issued = params("own.test", &["own.test"])
        .signed_by(&key, &Issuer::from_params(&root, &root_key))
        .unwrap()
        .pem();
    assert_eq!(
        warned(&issued, &key),
        [
            "D/chain.pem lacks the certificate that signed the server's own (\"Example Root\"): clients that do not know it \
          refuse to connect; put it behind: cat D/chain.pem ISSUER.pem > D/chain.new.pem"
        ]
    );
    assert_eq!(warned(&format!("{issued}{root_pem}"), &key), [""; 0]);
    assert_eq!(
        warned(&format!("{root_pem}{issued}{issued}"), &key),
        [
            "the certificates in D/chain.pem are not in order; they are sent in order all the same: the server's own, and \
             behind each the one that certifies it",
            "D/chain.pem holds a certificate more than once; each is sent once",
        ]
    );
}

#[test]
fn times_and_names_that_no_client_takes() {
    let files = files(Path::new("D/chain.pem"), Path::new("D/key.pem"));
    assert_eq!(
        describe(&Flaw::NeverValid { place: 1 }, &files, NEW_YEAR),
        "certificate 2 of D/chain.pem is valid at no time: its dates cannot be read, or its end is before its beginning; \
         clients refuse it, have it issued again"
    );
    assert_eq!(
        describe(&Flaw::UnusableName { name: "*".to_owned() }, &files, NEW_YEAR),
        "the certificate D/chain.pem names no host that clients accept: \"*\" is no DNS name in ASCII (others are written \
         with xn--), or has a * that is not the whole of the first label before two others; have it issued again with \
         its names, for a test: openssl req -x509 -key D/key.pem -days 90 -subj /CN=localhost -addext \
         subjectAltName=DNS:localhost -out D/chain.new.pem"
    );
}

#[test]
fn addresses_stand_among_the_names() {
    let key = KeyPair::generate().unwrap();
    let folder = TempDir::new().unwrap();
    let [chain, key_file] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&chain, params("own", &["192.0.2.7", "2001:db8::7"]).self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let loaded = load(&files(&chain, &key_file), now()).unwrap();
    assert_eq!(
        (loaded.report.names, loaded.warnings),
        (vec!["192.0.2.7".to_owned(), "2001:db8::7".to_owned()], vec![])
    );
}

#[test]
fn days() {
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(NEW_YEAR - 1), "2029-12-31");
    assert_eq!(date(253_402_300_799), "9999-12-31");
    assert_eq!(date(u64::MAX), "a day that no calendar has");
}

#[test]
fn a_file_that_tells_no_size_is_read_whole() {
    let path = Path::new("/proc/version");
    let read = read::read(path, "key", PATIENCE, &mut |_| ()).unwrap();
    assert_eq!(read.as_slice(), fs::read(path).unwrap());
}
