use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn programs_that_others_could_have_put_there_are_not_run() {
    let root = TempDir::new().unwrap();
    mode(root.path(), 0o755);
    let (folder, program) = (root.path().join("bin"), root.path().join("bin/certutil"));
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o755);
    fs::write(&program, "").unwrap();
    mode(&program, 0o755);
    let link = root.path().join("link");
    symlink(&program, &link).unwrap();
    let real = fs::canonicalize(&program).unwrap();
    assert_eq!(super::program(&program), Some(real.clone()));
    assert_eq!(super::program(&link), Some(real), "the name that cannot be exchanged");

    mode(&program, 0o757);
    assert_eq!(super::program(&program), None);
    mode(&program, 0o755);
    mode(&folder, 0o757);
    assert_eq!(super::program(&program), None);
    mode(&folder, 0o755);
    assert!(super::program(&program).is_some());
    assert_eq!(super::program(&folder), None);
    assert_eq!(super::program(&root.path().join("bin/modutil")), None);
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let root = TempDir::new().unwrap();
    mode(root.path(), 0o755);
    fs::write(root.path().join("file"), "12345").unwrap();
    let base = Base::walk(root.path(), Rule::Own).unwrap();
    let read = |max: u64| read(&open_file(base.descriptor(), "file").unwrap().0, max);
    assert_eq!(read(5).unwrap(), b"12345");
    assert_eq!(read(4).unwrap_err().to_string(), "it is larger than 4 bytes");
    assert_eq!(open_file(base.descriptor(), "none").unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::create_dir(root.path().join("folder")).unwrap();
    assert_eq!(
        open_file(base.descriptor(), "folder").unwrap_err().to_string(),
        "it is a directory, not a file"
    );
}
