//! Whether a file system reports changes: inotify reports what this kernel changes, and nothing
//! that others change in a share.

use std::fmt;
use std::os::fd::BorrowedFd;

/// The reliability of inotify, ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Events {
    /// Every change is made by this kernel.
    All,
    /// There may be changes without events: a file system of layers, or one that is not known here.
    Perhaps(FileSystem),
    /// Others change it too: a share of a network, or of a virtual machine's host.
    Own(FileSystem),
}

/// A kind of file system, by its magic number (statfs(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileSystem(u32);

impl Events {
    /// Looks at the file system that a file lies in.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Events {
        // Magic numbers have 32 bits, whatever the field has. Where the question is refused,
        // nothing is known.
        Events::of_kind(rustix::fs::fstatfs(fd).map_or(0, |found| found.f_type as u32))
    }

    pub(super) fn of_kind(magic: u32) -> Events {
        if LOCAL.contains(&magic) {
            Events::All
        } else if SHARED.iter().any(|(shared, _)| *shared == magic) {
            Events::Own(FileSystem(magic))
        } else {
            Events::Perhaps(FileSystem(magic))
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SHARED.iter().chain(&LAYERED).find(|(magic, _)| *magic == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "this file system ({:#x})", self.0),
        }
    }
}

/// ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, F2FS, ZFS, bcachefs, FAT, exFAT, NTFS, ISO 9660, UDF,
/// SquashFS, EROFS, JFS, NILFS, ReiserFS, HFS+, UBIFS and JFFS2.
const LOCAL: [u32; 21] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x4d44,
    0x2011_bab0,
    0x7366_746e,
    0x9660,
    0x1501_3346,
    0x7371_7368,
    0xe0f5_e1e2,
    0x3153_464a,
    0x3434,
    0x5265_4973,
    0x482b,
    0x2405_1905,
    0x72b6,
];

/// File systems that others can change.
const SHARED: [(u32, &str); 22] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x564c, "NCP"),
    (0x6573_5546, "FUSE (sshfs, virtiofs and others)"),
    (0x0102_1997, "9p (Windows' drives in WSL, shares of virtual machines)"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
    (0x7c7c_6673, "prl_fs"),
    (0x00c0_ffee, "hostfs"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
];

/// File systems whose layers can be changed underneath.
const LAYERED: [(u32, &str); 3] = [(0x794c_7630, "overlayfs"), (0x6175_6673, "aufs"), (0xf15f, "eCryptfs")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn shares_tell_only_what_is_changed_here() {
        let said = |magic| match Events::of_kind(magic) {
            Events::All => "all".to_owned(),
            Events::Perhaps(kind) => format!("perhaps {kind}"),
            Events::Own(kind) => format!("own {kind}"),
        };
        // As in linux/magic.h.
        for (magic, expected) in [
            (0xef53, "all"),
            (0x0102_1994, "all"),
            (0x0102_1997, "own 9p (Windows' drives in WSL, shares of virtual machines)"),
            (0x6969, "own NFS"),
            (0xff53_4d42, "own SMB"),
            (0x6573_5546, "own FUSE (sshfs, virtiofs and others)"),
            (0x794c_7630, "perhaps overlayfs"),
            (0x1234, "perhaps this file system (0x1234)"),
        ] {
            assert_eq!(said(magic), expected);
        }
        let proc = std::fs::File::open("/proc/version").unwrap();
        assert_eq!(Events::of(proc.as_fd()), Events::Perhaps(FileSystem(0x9fa0)));
        assert!(
            Events::All < Events::Perhaps(FileSystem(7))
                && Events::Perhaps(FileSystem(7)) < Events::Own(FileSystem(1))
        );
    }
}
