//! The metrics as the page `docs/metrics.md` has them.

use std::fmt::Write as _;

use super::families::ALL;

/// One row a family, in Markdown.
pub fn markdown() -> String {
    let mut text = "| metric | kind | labels | |\n|---|---|---|---|\n".to_owned();
    for family in ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind.as_str(),
            family.labels.join(", "),
            family.help,
        );
    }
    text
}
