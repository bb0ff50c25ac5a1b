//! Tables as commands print them: columns and no lines, so that they can be read and cut.

use comfy_table::{Table, presets};

/// Rows under a header, each as wide as its widest cell.
pub(super) fn plain<Cell: ToString>(header: Vec<Cell>, rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    table.trim_fmt()
}
