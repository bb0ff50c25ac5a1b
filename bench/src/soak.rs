//! The soak: everything at one time, for minutes. Nothing may be lost, nothing truncated may look whole, and in the
//! end memory and descriptors have to be what they were after the first minute.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;

use crate::streams::{open, read};
use crate::subject::{Ask, Subject};
use crate::upstream;

#[derive(clap::Args)]
pub struct Options {
    /// How long, in minutes.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

const WHATS: [&str; 6] = ["json", "stream/50/5", "stream/2000/0", "cut/20/5", "s401", "failed"];
/// What a mebibyte of noise more or less does not make into growth.
const MEMORY_NOISE: u64 = 4 << 20;
/// How long connections that nobody uses are kept, and a little.
const SETTLE_TIME: Duration = Duration::from_secs(100);

/// What has come of the requests, each kind by itself.
#[derive(Default)]
struct Counts {
    json: AtomicU64,
    streams: AtomicU64,
    rescued: AtomicU64,
    cut: AtomicU64,
    aborted: AtomicU64,
    slow: AtomicU64,
}

/// What one worker does again and again.
#[derive(Clone, Copy)]
enum Work {
    Json,
    Stream,
    /// The first backend fails: by a status, or in a body.
    Rescued(&'static str, bool),
    /// The backend breaks its stream off.
    Cut,
    /// The client leaves in the middle.
    Aborted,
    /// The client takes its time, and the backend does not.
    Slow,
}

impl Work {
    const ALL: [(Self, usize); 8] = [
        (Self::Json, 4),
        (Self::Stream, 8),
        (Self::Rescued("s401+", false), 2),
        (Self::Rescued("failed+", false), 2),
        (Self::Rescued("failed+", true), 2),
        (Self::Cut, 2),
        (Self::Aborted, 4),
        (Self::Slow, 4),
    ];

    async fn once(self, subject: &Subject, counts: &Counts) -> anyhow::Result<()> {
        let ask = |what, is_stream| Ask { what, is_stream, bytes: 4000 };
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        match self {
            Self::Json => {
                whole(subject, ask("json", false)).await?;
                count(&counts.json);
            }
            Self::Rescued(what, is_stream) => {
                if is_stream {
                    streamed(subject, ask(what, true), "response.completed", None).await?;
                } else {
                    whole(subject, ask(what, false)).await?;
                }
                count(&counts.rescued);
            }
            Self::Stream => {
                streamed(subject, ask("stream/50/5", true), "response.completed", Some(50)).await?;
                count(&counts.streams);
            }
            Self::Cut => {
                // What came before the break has to be there, and one event that says that it broke.
                streamed(subject, ask("cut/20/5", true), "response.failed", Some(20)).await?;
                count(&counts.cut);
            }
            Self::Aborted => {
                let body = open(subject, ask("stream/50/5", true)).await?;
                read(body, 10, Duration::ZERO).await?;
                count(&counts.aborted);
            }
            Self::Slow => {
                let body = open(subject, ask("stream/2000/0", true)).await?;
                let received = read(body, usize::MAX, Duration::from_millis(20)).await?;
                ensure!(received.last == "response.completed", "slow: {}", received.last);
                ensure!(received.lags.len() == 2000, "slow: {} deltas", received.lags.len());
                count(&counts.slow);
            }
        }
        Ok(())
    }
}

async fn whole(subject: &Subject, ask: Ask<'_>) -> anyhow::Result<()> {
    let body = open(subject, ask).await?.collect().await?.to_bytes();
    ensure!(body.starts_with(b"{\"id\"") && body.ends_with(b"}"), "{} bytes of JSON", body.len());
    Ok(())
}

async fn streamed(
    subject: &Subject,
    ask: Ask<'_>,
    last: &str,
    deltas: Option<u64>,
) -> anyhow::Result<()> {
    let received = read(open(subject, ask).await?, usize::MAX, Duration::ZERO).await?;
    ensure!(received.last == last, "{} ended with {}", ask.what, received.last);
    let count = received.lags.len();
    ensure!(deltas.is_none_or(|deltas| deltas == count), "{}: {count} deltas", ask.what);
    Ok(())
}

/// What the process has in use.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: u64,
    descriptors: usize,
}

impl Held {
    fn of(subject: &Subject) -> anyhow::Result<Self> {
        Ok(Self { memory: subject.memory()?, descriptors: subject.descriptors()? })
    }
}

/// Soaks a program; an error if anything is lost or grows.
pub fn run(program: &Path, options: &Options) -> anyhow::Result<()> {
    let backend = upstream::start()?;
    // Nothing is benched, so that every request meets its fault.
    let subject = Subject::sidestep(program, backend, &WHATS, "bench.enabled = false")?;
    let subject = Arc::new(subject);
    let minutes = Duration::from_secs(60 * options.minutes);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Held::of(&subject)?;
        // Once for a tenth of the time, so that what is made once is there.
        soak(&subject, minutes / 10).await?;
        let warm = settled(&subject, begun).await?;
        soak(&subject, minutes).await?;
        let after = settled(&subject, warm).await?;
        println!("before: {begun:?}\nwarm:   {warm:?}\nafter:  {after:?}");
        ensure!(after.descriptors <= warm.descriptors, "descriptors are left open");
        ensure!(after.memory <= warm.memory + MEMORY_NOISE, "memory has grown");
        println!("the soak is good");
        Ok(())
    })
}

async fn soak(subject: &Arc<Subject>, time: Duration) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let until = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for (work, workers) in Work::ALL {
        for _ in 0..workers {
            let (subject, counts) = (subject.clone(), counts.clone());
            tasks.spawn(async move {
                while Instant::now() < until {
                    work.once(&subject, &counts).await?;
                }
                anyhow::Ok(())
            });
        }
    }
    let reloaded = subject.clone();
    tasks.spawn(async move {
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(5)).await;
            reloaded.hang_up()?;
        }
        Ok(())
    });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let shown = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} s: {} JSON, {} streams, {} rescued, {} cut, {} aborted, {} slow; {:?}",
        time.as_secs(),
        shown(&counts.json),
        shown(&counts.streams),
        shown(&counts.rescued),
        shown(&counts.cut),
        shown(&counts.aborted),
        shown(&counts.slow),
        Held::of(subject)?,
    );
    Ok(())
}

/// What it holds when idle connections are gone, or as much as before if that is sooner.
async fn settled(subject: &Subject, before: Held) -> anyhow::Result<Held> {
    let until = Instant::now() + SETTLE_TIME;
    loop {
        let held = Held::of(subject)?;
        if held.descriptors <= before.descriptors || Instant::now() > until {
            return Ok(held);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
