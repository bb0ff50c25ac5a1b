//! One request at a time over a blocking connection, with as little between the clock and the wire as can be.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;

use crate::subject::{Ask, Subject};

/// How long an answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// When parts of an answer came, from when its request was sent.
pub struct Times {
    /// The first delta of a stream.
    pub first_delta: Option<Duration>,
    /// The last byte.
    pub end: Duration,
}

impl Connection {
    /// A connection to a subject.
    pub fn new(subject: &Subject) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(subject.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, read: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and reads its answer, which has to be a good one.
    pub fn exchange(&mut self, request: &str) -> anyhow::Result<Times> {
        const DELTA: &[u8] = b"event: response.output_text.delta";
        let sent = Instant::now();
        self.stream.write_all(request.as_bytes())?;
        self.read.clear();
        let mut piece = [0; 64 * 1024];
        let mut first_delta = None;
        loop {
            let count = self.stream.read(&mut piece)?;
            ensure!(count > 0, "the connection was closed");
            self.read.extend_from_slice(&piece[..count]);
            if first_delta.is_none() && contains(&self.read, DELTA) {
                first_delta = Some(sent.elapsed());
            }
            if self.is_whole()? {
                return Ok(Times { first_delta, end: sent.elapsed() });
            }
        }
    }

    /// Whether the answer that is being read is there. Its head comes in one piece.
    fn is_whole(&self) -> anyhow::Result<bool> {
        let Some(end) = find(&self.read, b"\r\n\r\n") else { return Ok(false) };
        let head = std::str::from_utf8(&self.read[..end])?.to_ascii_lowercase();
        ensure!(
            head.starts_with("http/1.1 200"),
            "{head}: {}",
            String::from_utf8_lossy(&self.read)
        );
        if head.contains("transfer-encoding: chunked") {
            return Ok(self.read.ends_with(b"\r\n0\r\n\r\n"));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        Ok(self.read.len() >= end + 4 + length.context("no length")?.trim().parse::<usize>()?)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    find(bytes, part).is_some()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    // Three digits are more than the machine's noise; every value fits, because it grows.
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"))
}

/// A duration as a value of a histogram.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One request after the other: the times of each, by `which`.
pub fn one_by_one(
    subject: &Subject,
    ask: Ask<'_>,
    count: usize,
    which: fn(&Times) -> Option<Duration>,
) -> anyhow::Result<Histogram<u64>> {
    let (mut connection, request) = (Connection::new(subject)?, ask.request(subject));
    let mut times = histogram();
    for number in 0..count + count / 10 {
        let time = connection.exchange(&request)?;
        // The first ones warm up.
        if number >= count / 10 {
            times.record(nanoseconds(which(&time).context("no delta")?))?;
        }
    }
    Ok(times)
}

/// An open loop: `rate` requests a second whether or not answers come, each measured from when it should have
/// been sent.
pub fn at_rate(
    subject: &Subject,
    ask: Ask<'_>,
    rate: u32,
    time: Duration,
) -> anyhow::Result<Histogram<u64>> {
    const CONNECTIONS: u32 = 8;
    let interval = Duration::from_secs(1) * CONNECTIONS / rate;
    let request = &ask.request(subject);
    let began = Instant::now() + Duration::from_millis(50);
    let one = |number: u32| -> anyhow::Result<Histogram<u64>> {
        // A sleep may otherwise take 50 µs longer than asked for.
        rustix::thread::set_current_timer_slack(Some(std::num::NonZeroU64::MIN))?;
        let mut connection = Connection::new(subject)?;
        let mut times = histogram();
        let mut due = began + interval * number / CONNECTIONS;
        while due < began + time {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            connection.exchange(request)?;
            times.record(nanoseconds(due.elapsed()))?;
            due += interval;
        }
        Ok(times)
    };
    let mut all = histogram();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || one(number))).collect();
        for thread in threads {
            all.add(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??)?;
        }
        Ok(())
    })?;
    Ok(all)
}
