//! The loop of the container instance: takes orders, starts tasks one after the other, ends those it must.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::life::Life;
use super::{Change, Inner, plan};
use crate::stage::Stage;
use aws_local::ecs::{self, Definition};

/// The pauses of a failing service end without a change of the state: it is polled this often.
const POLL: Duration = Duration::from_millis(250);

/// A task that waits for its start.
struct Waiting {
    due: Instant,
    task: ecs::Task,
    definition: Definition,
}

/// Runs until it is dropped, and every task with it.
pub(super) async fn keep(mut stage: Stage, inner: Arc<Inner>) {
    let mut lives = JoinSet::new();
    let mut ends: BTreeMap<String, oneshot::Sender<()>> = BTreeMap::new();
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let next = waiting.iter().map(|it| it.due).min().unwrap_or_else(|| Instant::now() + POLL);
        tokio::select! {
            _ = timeout(POLL, inner.handle.until(|state| ecs::is_behind(&state.ecs, inner.context().now))) => {}
            () = sleep_until(next), if !waiting.is_empty() => {}
            Some(_) = lives.join_next() => {}
        }
        if inner.handle.read(|state| ecs::is_behind(&state.ecs, inner.context().now)) {
            let orders = inner.update(ecs::agent::orders);
            for arn in orders.stop {
                if let Some(end) = ends.remove(&arn) {
                    // A task that has just ended by itself does not listen any more.
                    let _ = end.send(());
                } else if let Some(place) = waiting.iter().position(|it| it.task.arn == arn) {
                    let task = waiting.remove(place).task;
                    inner.update(|state, context| ecs::agent::stopped(state, &arn, context));
                    inner.emit(&task, None, Change::Stopped { reason: inner.reason(&arn) });
                }
            }
            let due = Instant::now() + inner.settings.start_delay;
            waiting.extend(orders.start.into_iter().map(|(task, definition)| Waiting {
                due,
                task,
                definition,
            }));
        }
        if let Some(place) = waiting.iter().position(|it| it.due <= Instant::now()) {
            let Waiting { task, definition, .. } = waiting.remove(place);
            let (end, ended) = oneshot::channel();
            if let Some(life) = start(&mut stage, &inner, task, &definition).await {
                ends.insert(life.arn().to_owned(), end);
                lives.spawn(life.run(ended));
            }
        }
        ends.retain(|_, end| !end.is_closed());
    }
}

async fn start(
    stage: &mut Stage,
    inner: &Arc<Inner>,
    task: ecs::Task,
    definition: &Definition,
) -> Option<Life> {
    let started = async {
        let plan = plan::of(&task, definition, &inner.settings, &inner.context())?;
        plan.logs.iter().try_for_each(|(_, destination)| destination.open(&inner.handle))?;
        let running = stage.start(plan.spec.clone()).await.map_err(|error| error.to_string())?;
        let address = running.address().ok_or("it has no address")?;
        let first = running.init_pid().ok_or("it has no first process")?;
        Ok::<_, String>((plan, running, address, first))
    };
    let (plan, staged, address, first) = match started.await {
        Ok(started) => started,
        Err(reason) => {
            let reason = format!("CannotStartContainerError: {reason}");
            inner.update(|state, context| ecs::agent::failed_to_start(state, &task.arn, &reason, context));
            inner.emit(&task, None, Change::FailedToStart { reason });
            return None;
        }
    };
    for (file, destination) in &plan.logs {
        inner.logs.follow(&task.arn, file, destination.clone());
    }
    inner.update(|state, _| ecs::agent::attached(state, &task.arn, Some(address)));
    Some(Life::new(inner.clone(), task, (address, first), staged, plan))
}
