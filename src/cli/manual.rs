//! `sidestep completions` and `sidestep man`: made of the same definition that reads the command line.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Arguments, CommandError};

/// Prints a shell's completions.
///
/// # Errors
///
/// When the output cannot be written.
pub fn completions(shell: Shell, out: &mut impl Write) -> Result<(), CommandError> {
    // Into memory first: the generator panics where its output goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sidestep", &mut script);
    Ok(out.write_all(&script)?)
}

/// Prints the manual page, or writes one for each command into a folder.
///
/// # Errors
///
/// When the output, or a file of the folder, cannot be written.
pub fn pages(folder: Option<&Path>, out: &mut impl Write) -> Result<(), CommandError> {
    let command = Arguments::command();
    match folder {
        None => clap_mangen::Man::new(command).render(out)?,
        Some(folder) => clap_mangen::generate_to(command, folder)
            .map_err(|source: io::Error| CommandError::Store { file: folder.to_owned(), source })?,
    }
    Ok(())
}
