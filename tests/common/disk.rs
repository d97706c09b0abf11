//! File systems that can be full.

use super::{have, run};
use std::fs;
use std::path::{Path, PathBuf};

/// A file system in memory of this size, which ends with it. `None`: none can be mounted here.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Mounts it at a path that is not there yet.
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Small> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size},mode=0700");
        let path = path.to_str().unwrap();
        let mounted = have(&["mount", "umount"])
            && run("mount", ["-t", "tmpfs", "-o", &options, "tmpfs", path]).status.success();
        mounted.then(|| Small(path.into()))
    }

    pub(crate) fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        run("mount", ["-o", &options, self.0.to_str().unwrap()]).ok();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run("umount", ["-l", self.0.to_str().unwrap()]);
    }
}
