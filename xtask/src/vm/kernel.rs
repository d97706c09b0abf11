//! Debian's kernels: found, downloaded and unpacked under `target/vm`, never installed; and their
//! modules.

use super::{Result, name_of};
use crate::debian::{self, apt_get, private_lists, unpack};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kernel series that Debian 12 has as packages, the oldest that sitar supports among them. These
/// run where none is named.
pub(crate) const SERIES: [&str; 2] = ["6.1", "6.12"];
/// The series that runs only where it is named: the newest 7.x of Debian's sid. It has what sitar
/// uses where it finds it, but it moves: an old version cannot be downloaded again.
const OF_SID: &str = "7.2";

/// Returns the series of this name.
pub(crate) fn series(name: &str) -> Option<&'static str> {
    SERIES.into_iter().chain([OF_SID]).find(|known| *known == name)
}

/// Modules that the guest needs where the kernel does not have them built in: a way to speak to the
/// host, kernel TLS, the ciphers that TLS may ask for in all their forms, and network devices in
/// pairs. Dependencies are found in the modules.
const WANTED: [&str; 13] = [
    "virtio_pci",
    "virtio_console",
    "tls",
    "gcm",
    "ccm",
    "ctr",
    "ghash_generic",
    "ghash_clmulni_intel",
    "aesni_intel",
    "chacha20poly1305",
    "chacha",
    "chacha_x86_64",
    "poly1305_x86_64",
];

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// The image that QEMU boots.
    pub(crate) image: PathBuf,
    /// Every module by its name, with `_` for `-`.
    modules: BTreeMap<String, PathBuf>,
}

/// A module's file name in the guest, and its bytes.
pub(crate) type Module = (String, Vec<u8>);

impl Kernel {
    /// The newest kernel of a series, downloaded and unpacked below `directory` unless it is there.
    pub(crate) fn get(directory: &Path, series: &str) -> Result<Kernel> {
        let unpacked = directory.join(format!("kernel-{series}"));
        if let Some(image) = image_in(&unpacked) {
            return Kernel::at(image, &unpacked);
        }
        // Unpacked beside its place and renamed, so that a half is never taken for the whole.
        let work = directory.join(format!("half-{series}"));
        let (packages, half) = (work.join("packages"), work.join("unpacked"));
        remake(&packages)?;
        remake(&half)?;
        let (options, names) = if series == OF_SID { from_sid(&work)? } else { from_own_lists(series)? };
        println!("vm: downloading {}", names.join(" "));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        apt_get(&packages, &options, &[&["download"], &names[..]].concat())?;
        unpack(&packages, &half)?;
        let _ = fs::remove_dir_all(&unpacked);
        fs::rename(&half, &unpacked)?;
        fs::remove_dir_all(&work)?;
        let image = image_in(&unpacked).ok_or_else(|| format!("no kernel in {}", names.join(" ")))?;
        Kernel::at(image, &unpacked)
    }

    fn at(image: PathBuf, unpacked: &Path) -> Result<Kernel> {
        let mut modules = BTreeMap::new();
        let root = unpacked.join("lib/modules");
        let root = if root.exists() { root } else { unpacked.join("usr/lib/modules") };
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if let Some((name, _)) = name_of(&entry.path()).split_once(".ko") {
                    modules.insert(name.replace('-', "_"), entry.path());
                }
            }
        }
        Ok(Kernel { image, modules })
    }

    /// Returns its release, as `uname -r` prints it.
    pub(crate) fn release(&self) -> String {
        match name_of(&self.image).strip_prefix(IMAGE) {
            Some(release) => release.to_owned(),
            None => self.image.parent().map(name_of).unwrap_or_default(),
        }
    }

    /// [`WANTED`] and what those need, each behind what it needs.
    ///
    /// The packages have no `modules.dep` (an installation makes it), but every module names what
    /// it depends on.
    pub(crate) fn modules(&self) -> Result<Vec<Module>> {
        let mut found: Vec<Module> = Vec::new();
        for wanted in WANTED {
            self.add(wanted, &mut found, 0)?;
        }
        Ok(found)
    }

    fn add(&self, name: &str, found: &mut Vec<Module>, depth: usize) -> Result<()> {
        let file = format!("{name}.ko");
        // A name without a file is built in, or unknown to this kernel.
        let Some(path) = self.modules.get(name) else { return Ok(()) };
        if found.iter().any(|(known, _)| *known == file) {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            return Err(format!("module {name} depends on itself").into());
        }
        let content = if name_of(path).ends_with(".xz") {
            let unpacked = Command::new("xz").arg("-dc").arg(path).output()?;
            if !unpacked.status.success() {
                return Err(format!("{} could not be unpacked", path.display()).into());
            }
            unpacked.stdout
        } else {
            fs::read(path)?
        };
        for needed in depends(&content) {
            self.add(&needed, found, depth + 1)?;
        }
        found.push((file, content));
        Ok(())
    }
}

const DEPTH_MAX: usize = 16;

/// Returns the modules that this one needs, from its section `.modinfo`:
/// `depends=virtio,virtio_ring`, ended by a zero.
fn depends(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|window| window == FIELD) else { return Vec::new() };
    let list = &module[at + FIELD.len()..];
    let list = &list[..list.iter().position(|byte| *byte == 0).unwrap_or(list.len())];
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// Options for apt, and names of packages.
type Found = (Vec<String>, Vec<String>);

/// Finds the package of a series in this machine's lists.
fn from_own_lists(series: &str) -> Result<Found> {
    let pattern = format!("^linux-image-{}[.][0-9.+a-z-]*cloud-amd64$", series.replace('.', "[.]"));
    let find = || debian::names(&[], &pattern).map(newest);
    let found = match find()? {
        Some(found) => Some(found),
        None => {
            // The lists of packages may be absent or old.
            crate::setup::update_package_lists();
            find()?
        }
    };
    let missing = format!("apt-cache knows no package linux-image-{series}*-cloud-amd64 (Debian 12 has it)");
    Ok((Vec::new(), vec![found.ok_or(missing)?]))
}

/// Finds the newest 7.x in the lists of sid, which are kept below `work`. The package linux-image
/// only names those that hold the image and the modules.
fn from_sid(work: &Path) -> Result<Found> {
    let options = private_lists(work, "sid")?;
    let found = newest(debian::names(&options, "^linux-binary-7[.][0-9.]+[+a-z0-9]*-cloud-amd64$")?);
    let binary = found.ok_or("sid has no package linux-binary-7*-cloud-amd64")?;
    let modules = binary.replacen("binary", "modules", 1);
    Ok((options, vec![binary, modules]))
}

fn newest(names: Vec<String>) -> Option<String> {
    names.into_iter().max_by_key(|name| numbers(name))
}

/// What the name of an image in /boot begins with.
const IMAGE: &str = "vmlinuz-";

/// Returns the image in /boot, or among its modules, where Debian has it since 7.x.
fn image_in(unpacked: &Path) -> Option<PathBuf> {
    let paths = |folder: &str| {
        let entries = fs::read_dir(unpacked.join(folder)).into_iter().flatten();
        entries.filter_map(std::result::Result::ok).map(|entry| entry.path())
    };
    let in_boot = paths("boot").find(|path| name_of(path).starts_with(IMAGE));
    in_boot.or_else(|| paths("usr/lib/modules").map(|path| path.join("vmlinuz")).find(|path| path.is_file()))
}

fn remake(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(fs::create_dir_all(folder)?)
}

/// The numbers in a name, so that .117 is newer than .99.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_number() {
        let names = ["linux-image-6.12.99+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"];
        assert_eq!(newest(names.map(str::to_owned).into()).as_deref(), Some(names[1]));
    }

    #[test]
    fn an_image_lies_in_boot_or_among_its_modules() {
        let folder = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        for (case, file, release) in [
            ("old", "boot/vmlinuz-6.12.1-cloud-amd64", "6.12.1-cloud-amd64"),
            ("new", "usr/lib/modules/7.2.13+deb14-cloud-amd64/vmlinuz", "7.2.13+deb14-cloud-amd64"),
        ] {
            let unpacked = folder.join(case);
            fs::create_dir_all(unpacked.join(file).parent().unwrap()).unwrap();
            fs::create_dir_all(unpacked.join("usr/lib/modules")).unwrap();
            assert_eq!(image_in(&unpacked), None);
            fs::write(unpacked.join(file), "").unwrap();
            let image = image_in(&unpacked).unwrap();
            assert_eq!(image, unpacked.join(file));
            assert_eq!(Kernel::at(image, &unpacked).unwrap().release(), release);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_module_names_what_it_needs() {
        let module = b"\x7fELF...license=GPL\0depends=crypto-simd,cryptd\0retpoline=Y\0";
        assert_eq!(depends(module), ["crypto_simd", "cryptd"]);
        assert!(depends(b"\0depends=\0name=tls\0").is_empty());
        assert!(depends(b"no module").is_empty());
    }

    #[test]
    fn modules_come_behind_what_they_need() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        let at = folder.join("lib/modules/1/kernel");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("aesni-intel.ko"), b"\0depends=crypto_simd,cryptd\0").unwrap();
        fs::write(at.join("crypto_simd.ko"), b"\0depends=cryptd\0").unwrap();
        fs::write(at.join("cryptd.ko"), b"\0depends=\0").unwrap();
        let kernel = Kernel::at(PathBuf::new(), &folder).unwrap();
        let names: Vec<String> = kernel.modules().unwrap().into_iter().map(|(name, _)| name).collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["cryptd.ko", "crypto_simd.ko", "aesni_intel.ko"]);
    }
}
