//! The record of one request: written by the layers as things happen, read when it is over.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;

use super::metrics::Outcome;
use super::traces::context::TraceContext;
use crate::verdict::{Failure, Stage};
use crate::wire::response::Usage;

/// A handle to the record of one request. Its clones share it.
#[derive(Clone, Debug)]
pub struct Record(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    began_at: SystemTime,
    started: Instant,
    trace: Option<TraceContext>,
    story: Mutex<Story>,
}

/// The client that sent a request, by the name of its key; travels with the request.
#[derive(Clone, Debug)]
pub struct Client(pub Arc<str>);

/// What has happened to a request so far.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The client that sent it, by the name of its key.
    pub client: Option<Arc<str>>,
    /// The route that serves it, once it is known.
    pub route: Option<Arc<str>>,
    /// The model that the client asked for.
    pub model: Option<String>,
    /// Whether it asked for a stream.
    pub is_stream: bool,
    /// When its body had been read.
    pub body_read: Option<Instant>,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptStory>,
    /// Whether the answer's head has gone to the client before there was an answer.
    pub is_announced: bool,
    /// When the answer's head could go to the client; for an announced answer, its first output.
    pub answered: Option<Instant>,
    /// Time spent waiting for backends, and between retries.
    pub waited: Duration,
    /// Token counts of the answer.
    pub usage: Option<Usage>,
    /// Whether the answer came to its own end, whatever the client did after that.
    pub is_complete: bool,
    /// Whether every target failed, so that the answer is Sidestep's own.
    pub is_exhausted: bool,
    /// Why there is no answer of a backend, in Sidestep's own words.
    pub error: Option<String>,
    /// How it ended, when it is over.
    pub end: Option<End>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// What became of it.
    pub outcome: Outcome,
    /// The status that the client was given; `None` if it left before.
    pub status: Option<StatusCode>,
    /// From its head to its answer's last byte.
    pub duration: Duration,
    /// From its head to its answer's first output.
    pub first_output: Option<Duration>,
}

/// What was taken out of a request so that its target can answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// Encrypted content that another backend issued.
    Reasoning,
    /// Ids of items that another backend gave.
    ItemIds,
    /// A field that the target has refused.
    Field(String),
}

impl Repaired {
    /// The kind, for a label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::ItemIds => "item_ids",
            Self::Field(_) => "field",
        }
    }

    /// The word for it in the log and in `x-sidestep-repaired`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Field(name) => name,
            Self::Reasoning | Self::ItemIds => self.kind(),
        }
    }
}

/// What has happened to one attempt.
#[derive(Clone, Debug)]
pub struct AttemptStory {
    /// The backend's name.
    pub backend: Arc<str>,
    /// Whose service it is, by the name that OpenTelemetry has for it, where that is known.
    pub provider: Option<&'static str>,
    /// The model that it was asked for.
    pub model: Arc<str>,
    /// The model as a label: a name of the configuration.
    pub model_label: Arc<str>,
    /// Which of the backend's credentials it used, counted from 0, where there are several.
    pub credential: Option<usize>,
    /// What was taken out of the request for it.
    pub repaired: Vec<Repaired>,
    /// When it began, counted from the request's beginning.
    pub began: Duration,
    /// How long the verdict on it took.
    pub judged: Option<Duration>,
    /// How it stands.
    pub state: AttemptState,
}

/// How an attempt stands.
#[derive(Clone, Debug)]
pub enum AttemptState {
    /// No verdict yet.
    Open,
    /// The client gets its answer.
    Relayed,
    /// It failed.
    Failed(Failure),
}

impl Record {
    /// The record of a request that begins now.
    pub fn new(id: String) -> Self {
        Self::traced(id, None)
    }

    /// The same, at a place in a trace.
    pub fn traced(id: String, trace: Option<TraceContext>) -> Self {
        let (began_at, started) = (SystemTime::now(), Instant::now());
        Self(Arc::new(Inner { id, began_at, started, trace, story: Mutex::default() }))
    }

    /// The request's id, as the client sees it in `x-request-id`.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// When the request began.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// When the request began, by the clock on the wall.
    pub fn began_at(&self) -> SystemTime {
        self.0.began_at
    }

    /// Where the request stands in a trace, if traces are exported.
    pub fn trace(&self) -> Option<TraceContext> {
        self.0.trace
    }

    /// Shows what has happened so far.
    pub fn read<T>(&self, show: impl FnOnce(&Story) -> T) -> T {
        show(&self.lock())
    }

    /// Who sent it.
    pub fn sent_by(&self, Client(name): &Client) {
        self.lock().client = Some(name.clone());
    }

    /// The body has been read, and this is what it asks for.
    pub fn asked(&self, model: &str, is_stream: bool) {
        let mut story = self.lock();
        story.model = Some(model.to_owned());
        story.is_stream = is_stream;
        story.body_read = Some(Instant::now());
    }

    /// A route serves it.
    pub fn routed(&self, route: &Arc<str>) {
        self.lock().route = Some(route.clone());
    }

    /// An attempt begins; the number names it in [`Record::attempt_ended`].
    pub fn attempt_began(&self, attempt: AttemptStory) -> usize {
        let mut story = self.lock();
        story.attempts.push(attempt);
        story.attempts.len() - 1
    }

    /// There is a verdict on an attempt, `waited` after it began.
    pub fn attempt_ended(&self, number: usize, state: AttemptState, waited: Duration) {
        let mut story = self.lock();
        if let Some(attempt) = story.attempts.get_mut(number) {
            attempt.state = state;
            attempt.judged = Some(waited);
        }
        story.waited += waited;
    }

    /// Time passed between two attempts.
    pub fn waited(&self, time: Duration) {
        self.lock().waited += time;
    }

    /// The answer's head goes to the client before there is an answer.
    pub fn announced(&self) {
        self.lock().is_announced = true;
    }

    /// The first output of an announced answer is there.
    pub fn answered(&self) {
        self.lock().answered = Some(Instant::now());
    }

    /// The answer's head goes to the client; `show` sees what has happened until then.
    pub fn headed(&self, show: impl FnOnce(&Story)) {
        let mut story = self.lock();
        if !story.is_announced {
            story.answered = Some(Instant::now());
        }
        show(&story);
    }

    /// The answer's token counts.
    pub fn used(&self, usage: Option<Usage>) {
        let mut story = self.lock();
        story.usage = usage.or(story.usage);
    }

    /// The answer has come to its end; with a failure if it broke after output had gone out.
    pub fn completed(&self, failure: Option<Failure>) {
        let mut story = self.lock();
        story.is_complete = true;
        if let (Some(failure), Some(attempt)) = (failure, story.attempts.last_mut()) {
            attempt.state = AttemptState::Failed(failure);
        }
    }

    /// Every target failed.
    pub fn exhausted(&self) {
        self.lock().is_exhausted = true;
    }

    /// The client gets no backend's answer, and these words of ours.
    pub fn refused(&self, error: String) {
        self.lock().error = Some(error);
    }

    /// The request is over. `show` sees the whole story, with its end as `judge` finds it.
    pub fn ended(
        &self,
        status: Option<StatusCode>,
        judge: impl FnOnce(&Story) -> Outcome,
        show: impl FnOnce(&Story, End),
    ) {
        let mut story = self.lock();
        let started = self.0.started;
        let end = End {
            outcome: judge(&story),
            status,
            duration: started.elapsed(),
            first_output: story.answered.map(|at| at.duration_since(started)),
        };
        story.end = Some(end);
        show(&story, end);
    }

    /// A panic in another holder leaves a story that is still good to read.
    fn lock(&self) -> MutexGuard<'_, Story> {
        self.0.story.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Story {
    /// The attempt whose answer the client gets.
    pub fn served_by(&self) -> Option<&AttemptStory> {
        self.attempts.last().filter(|attempt| match &attempt.state {
            AttemptState::Relayed => true,
            AttemptState::Failed(failure) => failure.stage == Stage::AfterCommit,
            AttemptState::Open => false,
        })
    }

    /// How often it went on to another target.
    pub fn failovers(&self) -> u32 {
        let is_another = |pair: &&[AttemptStory]| match pair {
            [from, to] => from.backend != to.backend || from.model != to.model,
            _ => false,
        };
        u32::try_from(self.attempts.windows(2).filter(is_another).count()).unwrap_or(u32::MAX)
    }

    /// The attempts in one readable line, such as `openai:gpt-5 auth(status), azure:gpt-5 ok`.
    pub fn attempts_line(&self) -> String {
        let told =
            self.attempts.iter().map(|AttemptStory { backend, model, state, .. }| match state {
                AttemptState::Open => format!("{backend}:{model} open"),
                AttemptState::Relayed => format!("{backend}:{model} ok"),
                AttemptState::Failed(Failure { class, detected_by, .. }) => {
                    format!("{backend}:{model} {class}({detected_by})")
                }
            });
        told.collect::<Vec<_>>().join(", ")
    }

    /// What was taken out for the last attempt, such as `reasoning, item_ids`; `None` if nothing was.
    pub fn repaired_line(&self) -> Option<String> {
        let repaired = &self.attempts.last().filter(|last| !last.repaired.is_empty())?.repaired;
        Some(repaired.iter().map(Repaired::as_str).collect::<Vec<_>>().join(", "))
    }

    /// The time between a request's last byte and its answer's head that no backend took.
    pub fn overhead(&self) -> Duration {
        match (self.body_read, self.answered) {
            (Some(read), Some(answered)) => {
                answered.duration_since(read).saturating_sub(self.waited)
            }
            _ => Duration::ZERO,
        }
    }

    /// The time from the first attempt to the one that was answered, if that is another one: what failover
    /// and retries added.
    pub fn failover_time(&self) -> Option<Duration> {
        let last = self.served_by().filter(|_| self.attempts.len() > 1)?;
        Some(last.began.saturating_sub(self.attempts.first()?.began))
    }

    /// The attempts as the value of `x-sidestep-attempts`: a list of strings with parameters
    /// (RFC 8941, section 3.1), one a target, such as
    /// `"openai:gpt-5";class=auth;detected_by=status, "azure:gpt-5";class=ok`.
    pub fn attempts_header(&self) -> String {
        let mut text = String::new();
        for attempt in &self.attempts {
            if !text.is_empty() {
                text.push_str(", ");
            }
            let target = format!("{}:{}", attempt.backend, attempt.model);
            // Structured strings hold printable ASCII; model names of clients may hold anything.
            text.push('"');
            for c in target.chars() {
                match c {
                    '"' | '\\' => text.extend(['\\', c]),
                    ' '..='~' => text.push(c),
                    _ => text.push('?'),
                }
            }
            text.push('"');
            // Writing to a string cannot fail.
            let _ = match &attempt.state {
                AttemptState::Open => write!(text, ";class=open"),
                AttemptState::Relayed => write!(text, ";class=ok"),
                AttemptState::Failed(failure) => {
                    write!(text, ";class={};detected_by={}", failure.class, failure.detected_by)
                }
            };
        }
        text
    }
}
