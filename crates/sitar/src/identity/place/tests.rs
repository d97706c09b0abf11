use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

struct User {
    root: TempDir,
}

impl User {
    /// A user with these directories, which only the user can write to.
    fn with(directories: &[&str]) -> User {
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in directories {
            let mut path = root.path().to_owned();
            for part in directory.split('/') {
                path.push(part);
                let _ = fs::create_dir(&path);
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        User { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The place, if these directories are what the environment names; text with a slash at its
    /// front stays as it is.
    fn choose(&self, xdg_data_home: Option<&str>, home: Option<&str>) -> Result<Place, Error> {
        let path = |name: &str| if name.starts_with("./") { PathBuf::from(name) } else { self.path(name) };
        Place::choose(xdg_data_home.map(path), home.map(path))
    }

    fn directory(&self, xdg_data_home: Option<&str>, home: Option<&str>) -> PathBuf {
        let place = self.choose(xdg_data_home, home).unwrap();
        assert_eq!(place.notes(), [""; 0]);
        place.directory()
    }
}

#[test]
fn directories() {
    let user = User::with(&["data", "home"]);
    assert_eq!(user.directory(Some("data"), Some("home")), user.path("data/sitar"));
    assert_eq!(user.directory(Some("new/data"), Some("home")), user.path("new/data/sitar"));
    assert_eq!(user.directory(None, Some("home")), user.path("home/.local/share/sitar"));
    assert_eq!(user.directory(Some("./data"), Some("home")), user.path("home/.local/share/sitar"));
    let none = Place::choose(Some(PathBuf::new()), None).unwrap();
    assert_eq!(none.directory(), Path::new("/var/lib/sitar"));
    // As Debian has it for users of services.
    assert_eq!(user.directory(None, Some("nonexistent")), Path::new("/var/lib/sitar"));
    assert!(!user.path("home/.local").exists(), "nothing is made before it is needed");
}

#[test]
fn links_above_are_resolved() {
    let user = User::with(&["home", "disk/data"]);
    symlink(user.path("disk/data"), user.path("data")).unwrap();
    symlink(user.path("disk"), user.path("home/.local")).unwrap();
    assert_eq!(user.directory(Some("data"), None), user.path("disk/data/sitar"));
    assert_eq!(user.directory(None, Some("home")), user.path("disk/share/sitar"));
}

#[test]
fn a_link_that_leads_nowhere_is_refused() {
    let user = User::with(&["home"]);
    symlink("nowhere", user.path("data")).unwrap();
    let place = user.choose(Some("data"), None).unwrap();
    assert!(place.find().unwrap().is_none());
    let refusal = place.make().unwrap_err();
    let path = user.path("data");
    assert_eq!(
        refusal.to_string(),
        format!("{} is a symbolic link, and sitar follows none here", path.display())
    );
    assert!(!user.path("nowhere").exists());
}

#[test]
fn a_place_that_others_can_write_to_is_refused() {
    for (named, mode, hint) in [
        ("data", 0o777, "let only its owner write: chmod go-w {}"),
        ("data", 0o772, "let only its owner write: chmod go-w {}"),
        // Others cannot move what is not theirs, but they can make `sitar` first.
        ("data", 0o1777, "a directory of its own below it will do"),
        ("home", 0o757, "let only its owner write: chmod go-w {}"),
        ("home/.local/share", 0o777, "let only its owner write: chmod go-w {}"),
    ] {
        let user = User::with(&["data", "home/.local/share"]);
        user.mode(named, mode);
        let (xdg_data_home, directory) =
            if named == "data" { (Some("data"), "data/sitar") } else { (None, "home/.local/share/sitar") };
        let text = user.choose(xdg_data_home, Some("home")).unwrap_err().render(false);
        let path = user.path(named).display().to_string();
        assert_eq!(
            text,
            format!(
                "error: cannot keep a certificate in {}\n\
                 \x20 cause: others can write to {path} (mode {mode:04o})\n\
                 \x20 hint: {}\n\
                 \x20 hint: use another directory: XDG_DATA_HOME=/path sitar …\n\
                 \x20 hint: or a certificate of your own: --tls-cert chain.pem --tls-key key.pem\n",
                user.path(directory).display(),
                hint.replace("{}", &path)
            )
        );
    }
}

#[test]
fn below_a_sticky_directory_of_ones_own_a_new_one_is_made() {
    let user = User::with(&["tmp"]);
    user.mode("tmp", 0o1777);
    let place = user.choose(Some("tmp/mine"), None).unwrap();
    place.make().unwrap();
    assert_eq!(fs::metadata(user.path("tmp/mine")).unwrap().permissions().mode() & 0o7777, 0o700);
    // Without the sticky bit others could move it away.
    user.mode("tmp", 0o777);
    assert!(user.choose(Some("tmp/yours"), None).is_err());
}

#[test]
fn what_cannot_be_a_directory_is_explained() {
    let user = User::with(&["home"]);
    fs::write(user.path("file"), "").unwrap();
    for (name, cause) in [
        ("file", "file: Not a directory (os error 20)"),
        ("file/data", "file/data: Not a directory (os error 20)"),
        ("new/../data", "new/../data: No such file or directory (os error 2)"),
    ] {
        let text = user.choose(Some(name), Some("home")).unwrap_err().render(false);
        assert!(text.contains(&format!("  cause: {}\n", user.path(cause).display())), "{text}");
    }
}
