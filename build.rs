//! Tells the program which commit it is built from: `SIDESTEP_COMMIT` where that is set (builds without a
//! repository, such as an image), else what git says.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SIDESTEP_COMMIT");
    // Changes with every commit and checkout. A file that is not there would mean a build each time.
    if std::path::Path::new(".git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let told = std::env::var("SIDESTEP_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(asked).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SIDESTEP_COMMIT={commit}");
}

fn asked() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
