//! The comparison: rounds that take turns, medians, one table.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

use crate::exchange::{Times, at_rate, one_by_one};
use crate::subject::{Ask, Subject};
use crate::table::{Figures, Target, median};
use crate::{streams, upstream, wrk};

#[derive(clap::Args)]
pub struct Options {
    /// Rounds, of which the middle one counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

const JSON: Ask<'_> = Ask { what: "json", is_stream: false, bytes: 300 };
const LARGE: Ask<'_> = Ask { bytes: 64 * 1024, ..JSON };
/// One event every 20 ms, as a quick model writes.
const STREAM: Ask<'_> = Ask { what: "stream/200/20", is_stream: true, bytes: 300 };
const STREAMS: usize = 200;
const EVENTS: u32 = 202;
const SHORT: Ask<'_> = Ask { what: "stream/3/1", is_stream: true, bytes: 300 };
const OPEN: Ask<'_> = Ask { what: "stream/60/100", is_stream: true, bytes: 300 };
const WHATS: [&str; 6] = ["json", "stream/200/20", "stream/3/1", "stream/60/100", "s401", "failed"];
const RATE: u32 = 1000;

/// One figure of each subject, a value a round.
type Rounds = [Vec<f64>; 3];

fn micros(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
}

fn at(times: &Histogram<u64>, quantile: f64) -> f64 {
    micros(times.value_at_quantile(quantile))
}

#[derive(Default)]
struct Measured {
    json_cpu: Rounds,
    large_cpu: Rounds,
    event_cpu: Rounds,
    paced_cpu: Rounds,
    lag_p50: Rounds,
    lag_p99: Rounds,
    first_delta_p50: Rounds,
    first_delta_p99: Rounds,
    rate_p50: Rounds,
    rate_p99: Rounds,
    ready: Rounds,
    idle: Rounds,
    open: Rounds,
    failed: Rounds,
    exchange: Rounds,
}

/// Measures and prints.
pub fn run(program: &Path, options: &Options) -> anyhow::Result<()> {
    let backend = upstream::start()?;
    let time = Duration::from_secs(options.seconds);
    let mut measured = Measured::default();
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        let subjects = [
            Subject::direct(backend),
            Subject::nginx(backend)?,
            Subject::sidestep(program, backend, &WHATS, "")?,
        ];
        for (index, subject) in subjects.iter().enumerate() {
            measured.first(index, subject)?;
            measured.latency(index, subject, time)?;
            if index > 0 {
                measured.processor(index, subject, time)?;
                measured.memory(index, subject)?;
            }
        }
        measured.failover(program, &subjects[0])?;
    }
    measured.print(program)
}

impl Measured {
    fn first(&mut self, index: usize, subject: &Subject) -> anyhow::Result<()> {
        if index > 0 {
            self.ready[index].push(subject.ready_after.as_secs_f64() * 1e3);
            // Pages that were touched at the start and are not used again stay with it.
            std::thread::sleep(Duration::from_millis(500));
            self.idle[index].push(subject.memory()? as f64 / 1e6);
        }
        Ok(())
    }

    fn latency(&mut self, index: usize, subject: &Subject, time: Duration) -> anyhow::Result<()> {
        let first = one_by_one(subject, SHORT, 300, |times| times.first_delta)?;
        self.first_delta_p50[index].push(at(&first, 0.5));
        self.first_delta_p99[index].push(at(&first, 0.99));
        let before = if index > 0 { subject.cpu()? } else { Duration::ZERO };
        let rate = at_rate(subject, JSON, RATE, time)?;
        if index > 0 {
            let used = (subject.cpu()? - before).as_secs_f64() * 1e6;
            self.paced_cpu[index].push(used / rate.len() as f64);
        }
        self.rate_p50[index].push(at(&rate, 0.5));
        self.rate_p99[index].push(at(&rate, 0.99));
        Ok(())
    }

    fn processor(&mut self, index: usize, subject: &Subject, time: Duration) -> anyhow::Result<()> {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.json_cpu[index].push(micros(wrk::cpu_per_request(subject, JSON, time)?));
        self.large_cpu[index].push(micros(wrk::cpu_per_request(subject, LARGE, time)?));
        let before = subject.cpu()?;
        let lags = streams::many(subject, STREAM, STREAMS, || Ok(()))?;
        let used = subject.cpu()? - before;
        let events = u32::try_from(STREAMS)? * EVENTS;
        self.event_cpu[index].push(micros(used / events));
        self.lag_p50[index].push(at(&lags, 0.5));
        self.lag_p99[index].push(at(&lags, 0.99));
        Ok(())
    }

    fn memory(&mut self, index: usize, subject: &Subject) -> anyhow::Result<()> {
        let mut bytes = 0;
        streams::many(subject, OPEN, 1000, || {
            bytes = subject.memory()?;
            Ok(())
        })?;
        self.open[index].push(bytes as f64 / 1e6);
        Ok(())
    }

    /// What a first backend that fails adds to a chain whose second one is well. Nothing is benched, so that each
    /// request meets it.
    fn failover(&mut self, program: &Path, direct: &Subject) -> anyhow::Result<()> {
        const STREAM: &str = "stream/3/0";
        let cases = [("json", "s401", false), ("json", "failed", false), (STREAM, "failed", true)];
        for (index, (good, bad, is_stream)) in cases.into_iter().enumerate() {
            let more = "bench.enabled = false";
            let sidestep = Subject::sidestep(program, direct.address, &[good, bad], more)?;
            let median = |subject: &Subject, what: &str| -> anyhow::Result<f64> {
                let ask = Ask { what, is_stream, bytes: 300 };
                Ok(at(&one_by_one(subject, ask, 1000, |times: &Times| Some(times.end))?, 0.5))
            };
            // As the proxy sees it: from its core to the backend's.
            crate::pin(crate::SUBJECT_CORE)?;
            let exchange = median(direct, good);
            crate::pin(crate::LOAD_CORE)?;
            self.exchange[index].push(exchange?);
            let plain = median(&sidestep, good)?;
            self.failed[index].push(median(&sidestep, &format!("{bad}+"))? - plain);
        }
        Ok(())
    }

    fn print(self, program: &Path) -> anyhow::Result<()> {
        let mut figures = Figures::new();
        let middle = |rounds: Rounds| {
            rounds.map(|values| if values.is_empty() { None } else { Some(median(values)) })
        };
        let mut add = |what: &str, rounds: Rounds, unit: &str, target: Target| {
            figures.add(what, middle(rounds), unit, target);
        };
        add("CPU a request, 2 KB answer", self.json_cpu, "us", Target::TimesNginx(2.0));
        add("CPU a request, 64 KiB body", self.large_cpu, "us", Target::TimesNginx(2.0));
        add("CPU an event", self.event_cpu, "us", Target::TimesNginx(1.5));
        add("CPU a request at 1,000/s", self.paced_cpu, "us", Target::None);
        add("event lag p50", self.lag_p50, "us", Target::None);
        add("event lag p99", self.lag_p99, "us", Target::None);
        add("first delta p50", self.first_delta_p50, "us", Target::NginxAnd(100.0));
        add("first delta p99", self.first_delta_p99, "us", Target::AtMost(40_000.0));
        add("latency at 1,000/s p50", self.rate_p50, "us", Target::AddsTimesNginx(2.0));
        add("latency at 1,000/s p99", self.rate_p99, "us", Target::AddsTimesNginx(2.0));
        let whats = [
            "a 401 before it adds", "a failed body before it adds",
            "a failed stream before it adds",
        ];
        for ((what, exchange), added) in whats.into_iter().zip(self.exchange).zip(self.failed) {
            let values = [Some(median(exchange)), None, Some(median(added))];
            figures.add(what, values, "us", Target::TimesDirect(1.5));
        }
        let mut add = |what: &str, rounds: Rounds, unit: &str, target: Target| {
            figures.add(what, middle(rounds), unit, target);
        };
        add("memory idle", self.idle, "MB", Target::AtMost(10.0));
        add("memory, 1,000 streams", self.open, "MB", Target::AtMost(40.0));
        add("ready after start", self.ready, "ms", Target::AtMost(15.0));
        let size = std::fs::metadata(program).context("the program")?.len() as f64 / 1e6;
        figures.add("binary", [None, None, Some(size)], "MB", Target::AtMost(15.0));
        figures.print();
        Ok(())
    }
}
