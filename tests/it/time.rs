//! Time and health: deadlines, waits, the bench.

use std::time::Duration;

use sidestep::faults::catalogue::Fault;
use tokio::time::Instant;

use crate::kit::Rig;

#[tokio::test]
async fn one_deadline_covers_every_attempt() {
    for stream in [false, true] {
        let limit = "limits.request_timeout = \"300ms\"\n";
        let rig = Rig::with(&[Fault::Silent, Fault::Ok], limit).await;
        let began = Instant::now();
        let reply = rig.ask(stream).await;
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(reply.status, 504);
        assert_eq!(rig.counts(), [1, 0], "no time is left for the next one");
    }
}
