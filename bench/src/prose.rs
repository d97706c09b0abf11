//! Paragraphs of reports.

const COLUMNS: usize = 100;

/// Breaks a paragraph at its spaces into lines of at most 100 columns. All lines but the first
/// begin with `indent`.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    let mut all = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            column = length;
        } else if column + 1 + length <= COLUMNS {
            all.push(' ');
            column += 1 + length;
        } else {
            all.push('\n');
            all.push_str(indent);
            column = indent.len() + length;
        }
        all.push_str(word);
    }
    all.push('\n');
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("a  b\nc", ""), "a b c\n");
        let word = "…".repeat(49);
        assert_eq!(
            wrapped(&format!("- {word} {word} {word}"), "  "),
            format!("- {word}\n  {word}\n  {word}\n")
        );
        assert_eq!(wrapped(&format!("{word} {word}. {word}"), ""), format!("{word} {word}.\n{word}\n"));
        assert_eq!(wrapped("", ""), "\n");
    }
}
