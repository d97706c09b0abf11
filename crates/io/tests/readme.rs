//! The README names the tests that show each guarantee; they exist.

use std::path::Path;

#[test]
fn every_test_that_the_readme_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut named = 0;
    // [`name`](path)
    for link in readme.split("[`").skip(1) {
        let Some((name, rest)) = link.split_once("`](") else { continue };
        let (path, _) = rest.split_once(')').unwrap();
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|_| panic!("{name}: no {path}"));
        let file = Path::new(path).file_stem().unwrap();
        let found =
            *file == *name || text.contains(&format!("fn {name}(")) || text.contains(&format!("fn {name}<"));
        assert!(found, "{path} has no {name}");
        named += 1;
    }
    assert!(named >= 20, "only {named} links to tests");
}
