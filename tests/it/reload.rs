//! The configuration changes while the proxy runs.

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use sidestep::faults::catalogue::Fault;

use crate::credentials::attempts;
use crate::kit::{Rig, client, configure, read, request};
use crate::limits::in_a_stream;
use crate::program::Program;

const BENCH: &str = "bench.enabled = true\n";
const BOTH: &str = "chain = [\"primary\", \"secondary\"]";
const FIRST: &str = "chain = [\"primary\"]";
const SECOND: &str = "chain = [\"secondary\"]";

async fn reloads(rig: &Rig) -> Vec<String> {
    rig.metric("sidestep_config_reloads_total").await
}

#[tokio::test]
async fn new_requests_use_the_new_one_and_running_ones_finish_on_the_old() {
    let mut rig = Rig::new(&[Fault::Endless, Fault::Ok]).await;
    let mut running = in_a_stream(&rig).await;
    rig.reload(BOTH, SECOND);
    assert_eq!(rig.ask(true).await.header("x-sidestep-backend"), "secondary");
    let mut taken = 0;
    while taken < 4 << 20 {
        taken += running.chunk().await.unwrap().unwrap().len();
    }
    assert_eq!(reloads(&rig).await, ["sidestep_config_reloads_total{outcome=\"loaded\"} 1"]);
}

#[tokio::test]
async fn what_is_benched_stays_there_until_it_is_something_else() {
    let mut rig = Rig::with(&[Fault::S401, Fault::S404, Fault::Ok], BENCH).await;
    rig.ask(false).await;
    assert_eq!(rig.counts(), [1, 1, 1]);
    // Neither another limit nor another setting makes them well.
    rig.reload("[backends.secondary]", "[backends.secondary]\ncontext_window = 1000");
    rig.reload("retry.delay_max = \"0ms\"", "retry.delay_max = \"1ms\"");
    rig.reload("[backends.primary]", "[backends.primary]\nconcurrency_max = 7");
    rig.ask(false).await;
    assert_eq!(rig.counts(), [1, 1, 2]);
    // Another key may be good.
    rig.reload("key-of-primary", "key-of-primary-2");
    let reply = rig.ask(false).await;
    assert!(attempts(&reply).starts_with("\"primary:m\""), "{}", attempts(&reply));
    assert_eq!(rig.counts(), [2, 1, 3]);
    let base_url = rig.backends[1].base_url();
    rig.reload(&base_url, &format!("{base_url}/other"));
    rig.ask(false).await;
    assert_eq!(rig.counts(), [2, 2, 4], "at another address may be another one");
}

#[tokio::test]
async fn a_bench_that_is_switched_off_holds_nothing() {
    let mut rig = Rig::with(&[Fault::S401, Fault::Ok], BENCH).await;
    rig.ask(false).await;
    rig.reload(BENCH, "bench.enabled = false\n");
    rig.ask(false).await;
    assert_eq!(rig.counts(), [2, 2]);
}

#[tokio::test]
async fn a_conversation_stays_where_it_was() {
    let mut rig = Rig::new(&[Fault::S401, Fault::Ok]).await;
    let body = r#"{"model":"m","prompt_cache_key":"one"}"#;
    rig.send(body).await;
    rig.backends[0].play(Fault::Ok);
    rig.reload("retry.delay_max = \"0ms\"", "retry.delay_max = \"1ms\"");
    assert_eq!(rig.send(body).await.header("x-sidestep-backend"), "secondary");
    assert_eq!(rig.ask(false).await.header("x-sidestep-backend"), "primary");
}

#[tokio::test]
async fn a_backend_that_is_gone_leaves_no_gauges() {
    let mut rig = Rig::with(&[Fault::S401, Fault::Ok], BENCH).await;
    rig.ask(false).await;
    assert!(format!("{:?}", rig.metric("sidestep_on_bench").await).contains("primary"));
    rig.reload(BOTH, SECOND);
    let start = rig.toml.find("[backends.primary]").unwrap();
    let end = rig.toml.find("[backends.secondary]").unwrap();
    let table = rig.toml[start..end].to_owned();
    rig.reload(&table, "");
    for family in ["sidestep_on_bench", "sidestep_credential_state"] {
        let lines = format!("{:?}", rig.metric(family).await);
        assert!(lines.contains("secondary") && !lines.contains("primary"), "{lines}");
    }
}

#[tokio::test]
async fn a_hundred_reloads_under_load_lose_nothing() {
    const RELOADS: usize = 100;
    let rig = Rig::with(&[Fault::Ok, Fault::FailedQuota], BENCH).await;
    // Another place for the primary's settings, another chain, and back.
    let other = rig
        .toml
        .replace(BOTH, SECOND)
        .replace("[backends.primary]", "[backends.primary]\nconcurrency_max = 50");
    let other = other.replace(SECOND, "chain = [\"secondary\", \"primary\"]");
    let texts = [other, rig.toml.clone()];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let workers = (0..8).map(|worker| {
        let (url, stopped) = (rig.url("/v1/responses"), stopped.clone());
        tokio::spawn(async move {
            let (client, mut asked) = (client(), 0);
            while !*stopped.borrow() {
                let body = request("m", (asked + worker) % 2 == 0).to_string();
                let reply = read(client.post(&url).body(body)).await;
                assert_eq!((reply.status, reply.is_whole), (200, true));
                assert!(reply.output_text().contains("primary"), "{}", reply.text());
                asked += 1;
            }
            asked
        })
    });
    let workers: Vec<_> = workers.collect();
    let (mut reloaded, mut sent) = (0, 0);
    while reloaded < RELOADS {
        let now = rig.counts()[0];
        // Each configuration serves somebody before the next one comes.
        if now > sent {
            sent = now;
            rig.reloader.reload(Ok(configure(&texts[reloaded % 2])));
            reloaded += 1;
        }
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    let asked: usize = join_all(workers).await.into_iter().map(Result::unwrap).sum();
    assert!(asked >= RELOADS, "{asked}");
    let expected = format!("sidestep_config_reloads_total{{outcome=\"loaded\"}} {RELOADS}");
    assert_eq!(reloads(&rig).await, [expected]);
}

#[tokio::test]
async fn a_process_reloads_on_sighup_and_when_its_file_changes() {
    let rig = Rig::new(&[Fault::Ok, Fault::Ok]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    let write = |head: &str, chain: &str| {
        std::fs::write(&file, format!("{head}\n{}", rig.toml.replace(BOTH, chain))).unwrap();
    };
    write("server.reload_interval = \"0s\"", FIRST);
    let program = Program::serve(&file).await;
    assert_eq!(program.ask(false).await.header("x-sidestep-backend"), "primary");

    let hang_up = || {
        kill_process(Pid::from_raw(program.child.id().unwrap().cast_signed()).unwrap(), Signal::HUP)
            .unwrap()
    };
    write("server.reload_interval = \"10ms\"", SECOND);
    assert_eq!(program.ask(false).await.header("x-sidestep-backend"), "primary", "not on its own");
    hang_up();
    program.reloaded("loaded", 1).await;
    assert_eq!(program.ask(false).await.header("x-sidestep-backend"), "secondary");

    write(
        "server.reload_interval = \"10ms\"\nserver.connections_max = 0\nlimits.attempts_max = 0",
        FIRST,
    );
    program.reloaded("refused", 1).await;
    assert_eq!(
        program.ask(false).await.header("x-sidestep-backend"),
        "secondary",
        "all or nothing"
    );

    write("server.reload_interval = \"10ms\"\nserver.connections_max = 9", FIRST);
    program.reloaded("loaded", 2).await;
    assert_eq!(program.ask(false).await.header("x-sidestep-backend"), "primary");
    let log = program.kill().await;
    for told in [
        "the new configuration is refused",
        "server.connections_max: found 0; allowed: 1 or more",
        "takes effect at the next start part=\"[server]\"",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
}
