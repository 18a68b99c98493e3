use super::*;
use crate::engine::container::{RootfsSpec, RuntimeSpec};
use crate::ids::ContainerName;

#[tokio::test]
async fn a_task_that_nobody_can_reach_any_more_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let context = Arc::new(Context {
        config: Config::new(dir.path()),
        changed: watch::Sender::new(0),
        events: broadcast::Sender::new(1),
    });
    let name = ContainerName::new("web").unwrap();
    let spec = ContainerSpec::new(name, RuntimeSpec::Rootfs(RootfsSpec::default()));
    let (actor, handle) = Actor::new(context, spec);
    let view = Arc::clone(&handle.view);
    drop(handle);
    actor.run().await;
    assert!(view.lock().unwrap().gone);
}
