//! wrk, the load tool: as many requests as 16 connections can bring, for the processor time of one.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::LOAD_CORE;
use crate::subject::{Ask, Subject};

/// Loads a subject for a time: the processor time that it used for one request.
pub fn cpu_per_request(
    subject: &Subject,
    ask: Ask<'_>,
    time: Duration,
) -> anyhow::Result<Duration> {
    let mut script = tempfile::Builder::new().suffix(".lua").tempfile()?;
    let body = ask.body();
    write!(
        script,
        "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\nwrk.headers[\"accept\"] = \"application/json\"\nwrk.body = [==[{body}]==]\n"
    )?;
    let url = format!("http://{}{}", subject.address, subject.path(ask.what));
    let before = subject.cpu()?;
    let output = Command::new("taskset")
        .args(["-c", &LOAD_CORE.to_string(), "wrk", "-t1", "-c16"])
        .arg(format!("-d{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(script.path())
        .arg(url)
        .output()
        .context("wrk cannot be started")?;
    let used = subject.cpu()? - before;
    let told = String::from_utf8(output.stdout)?;
    ensure!(!told.contains("Non-2xx") && !told.contains("Socket errors"), "{told}");
    let count = told.lines().find_map(|line| line.trim().split_once(" requests in "));
    let count: u32 = count.with_context(|| told.clone())?.0.parse()?;
    Ok(used / count)
}
