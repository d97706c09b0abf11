//! The sites, the certificate and the scripts that all servers and loads share.

use crate::Result;
use crate::cases::{CASES, FILES, Work};
use crate::run::CIPHER;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the sites, the certificate and the scripts.
pub(crate) struct Lab {
    pub(crate) directory: PathBuf,
    /// Files of the large site: fewer in a quick run.
    pub(crate) files: usize,
    pub(crate) quick: bool,
    /// Each server that can writes an access log to a file: sitar in this format, the others in
    /// their own.
    pub(crate) log: Option<&'static str>,
}

impl Lab {
    pub(crate) fn new(target: &Path, quick: bool) -> Result<Lab> {
        let directory = target.join("bench");
        fs::create_dir_all(directory.join("small"))?;
        for case in CASES.iter().filter(|case| case.work != Work::Random) {
            let path = directory.join("small").join(case.file);
            let length = if case.status == 200 { case.length } else { continue };
            if fs::metadata(&path).is_ok_and(|there| there.len() == length as u64) {
                continue;
            }
            fs::write(path, noise(1, length))?;
        }
        archive(&directory, "small")?;
        for (name, text) in SCRIPTS {
            fs::write(directory.join(name), format!("{DONE}{text}"))?;
        }
        fs::write(directory.join("openssl.cnf"), openssl_configuration())?;
        certificate(&directory)?;
        Ok(Lab { directory, files: if quick { FILES / 20 } else { FILES }, quick, log: None })
    }

    /// Returns the certificate's file.
    pub(crate) fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    /// Returns the name of the site for this kind of work, which has a folder and a tar archive.
    pub(crate) fn site(&self, work: Work) -> String {
        if work == Work::Random { format!("files-{}", self.files) } else { "small".into() }
    }

    /// Makes the site of many files, unless it is there.
    pub(crate) fn many_files(&self) -> Result<()> {
        many(&self.directory, self.files)
    }
}

/// Makes `files-COUNT/NNN/NNN.bin`, 1 KiB each.
pub(crate) fn many(directory: &Path, count: usize) -> Result<()> {
    let name = format!("files-{count}");
    let (folder, tar) = (directory.join(&name), directory.join(format!("{name}.tar")));
    if tar.exists() {
        return Ok(());
    }
    println!("making {count} files");
    for number in 0..count {
        let (outer, inner) = (number / 1000, number % 1000);
        let outer = folder.join(format!("{outer:03}"));
        if inner == 0 {
            fs::create_dir_all(&outer)?;
        }
        fs::write(outer.join(format!("{inner:03}.bin")), noise(number as u64 + 1, 1 << 10))?;
    }
    archive(directory, &name)
}

/// Makes `NAME.tar` of the folder `NAME`.
fn archive(directory: &Path, name: &str) -> Result<()> {
    let (to, new) = (directory.join(format!("{name}.tar")), directory.join("new.tar"));
    let tar =
        Command::new("tar").arg("cf").arg(&new).arg("-C").arg(directory.join(name)).arg(".").status()?;
    if !tar.success() {
        return Err("tar failed".into());
    }
    Ok(fs::rename(new, to)?)
}

/// Returns bytes that do not compress, the same in each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = crate::stats::Random(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn openssl_configuration() -> String {
    format!(
        "openssl_conf = conf\n[conf]\nssl_conf = ssl\n[ssl]\nsystem_default = default\n[default]\n\
         MinProtocol = TLSv1.3\nCiphersuites = {CIPHER}\nGroups = X25519\n"
    )
}

fn certificate(directory: &Path) -> Result<()> {
    let status = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err("openssl could not make a certificate".into()) }
}

/// wrk rounds what it prints; this does not.
const DONE: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    local bad = e.connect + e.read + e.write + e.status + e.timeout
    print(string.format("done requests=%d bytes=%d duration=%d bad=%d", summary.requests, summary.bytes, summary.duration, bad))
end
"#;

/// The scripts of wrk, by the names of their files.
const SCRIPTS: &[(&str, &str)] = &[
    ("plain.lua", ""),
    (
        "pipeline.lua",
        "
init = function(args) all = string.rep(wrk.format(), tonumber(args[1])) end
request = function() return all end
",
    ),
    // The first argument is the number of files; with a second one they are requested in order.
    (
        "files.lua",
        r#"
local last = 0
init = function(args) count = tonumber(args[1]); ordered = args[2] ~= nil; math.randomseed(1) end
request = function()
    local n = math.random(count) - 1
    if ordered then n = last; last = (last + 1) % count end
    return wrk.format("GET", string.format("/%03d/%03d.bin", math.floor(n / 1000), n % 1000))
end
"#,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_each_time_and_of_any_length() {
        assert_eq!(noise(1, 1000), noise(1, 1003)[..1000]);
        assert_ne!(noise(1, 16), noise(2, 16));
    }
}
