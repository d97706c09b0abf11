//! The property of any bytes as a configuration, for tests and for the fuzz target.

use std::path::Path;
use std::sync::Arc;

use super::document;
use super::load::build;
use super::problems::Problems;
use super::show::show;

/// Reads bytes as a file that includes nothing, and checks what is said about them.
///
/// # Panics
/// A problem is not in the file, or what is shown of a configuration is not read as the same.
pub fn config(bytes: &[u8]) {
    let file: Arc<Path> = Path::new("/nowhere/sitar.toml").into();
    let mut problems = Problems::default();
    let document = document::of_bytes(&file, bytes.to_vec(), &mut problems);
    match build(document, &[], None, problems) {
        Ok(loaded) => {
            let shown = show(&loaded);
            let mut problems = Problems::default();
            let document = document::of_bytes(&file, shown.clone().into_bytes(), &mut problems);
            let again = build(document, &[], None, problems);
            let Ok(again) = again else { unreachable!("what is shown is refused: {again:?}\n{shown}") };
            assert_eq!(again.config.sites.len(), loaded.config.sites.len(), "{shown}");
            assert_eq!(again.config.settings, loaded.config.settings, "{shown}");
            assert_eq!(again.config.log.style, loaded.config.log.style, "{shown}");
            assert_eq!(again.config.log.events, loaded.config.log.events, "{shown}");
            assert_eq!(again.config.log.target.target, loaded.config.log.target.target, "{shown}");
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            let text = String::from_utf8_lossy(bytes);
            let lines = text.split('\n').count();
            for problem in &problems {
                assert!(problem.place.line <= lines, "{problem}");
                assert!(!problem.what.is_empty(), "{problem:?}");
                assert!(!problem.to_string().contains('\u{1b}'), "{problem:?}");
            }
        }
    }
}
