//! What the demo runs in: the local AWS, the service under load, and their state every second.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::screen::Screen;
use super::{DemoError, system};
use crate::log;
use crate::stage::{AGENT_ADDRESS, Stage};
use crate::up::{self, Change, Cluster, ServiceSpec, Settings, TaskEvent};
use aws_local::shared::Handle;
use aws_local::{Options, Server};
use experiment::run::client::Fis;
use experiment::run::progress::{Progress, is_final};
use experiment::traffic::{Load, LoadOptions, Target};
use record::Second;

/// Where the tasks' application listens.
const PORT: u16 = 80;
/// How many times shorter than asked experiments are: PT5M is 20 s.
pub(super) const SPEED: f64 = 15.0;
/// The slowest P95 that the bars can show, in milliseconds.
const SLOWEST_MS: f64 = 300.0;
/// From the end of a task to its deregistration. In AWS the agent has to report it and the service to act on
/// it, which takes seconds, and clients see errors meanwhile; on one machine it would be milliseconds.
const DEREGISTRATION: Duration = Duration::from_millis(1500);
/// No second is longer in coming: that of the last request, its time limits, and a very busy machine.
const SECOND_LIMIT: Duration = Duration::from_secs(30);

/// The local AWS and its container instance.
#[must_use = "dropping it stops the local AWS"]
pub(super) struct Aws {
    pub endpoint: String,
    pub handle: Handle,
    cluster: Option<Cluster>,
    server: JoinHandle<()>,
}

impl Aws {
    /// Starts both on a stage; logs go to `folder`.
    pub(super) async fn start(mut stage: Stage, folder: &Path) -> Result<Aws, DemoError> {
        stage.pin_tasks();
        let file = File::create(folder.join("local-aws.log")).map_err(system("making the log"))?;
        log::start(Arc::new(file)).map_err(DemoError::Unmet)?;
        let options = Options { speed: SPEED, ..Options::default() };
        let listener = up::agent_listener().await.map_err(system("listening for tasks"))?;
        let server = Server::on(listener, options).map_err(|error| DemoError::Unmet(error.to_string()))?;
        let handle = server.handle();
        let cluster = Cluster::start(stage, handle.clone(), Settings::in_folder(folder));
        let server = tokio::spawn(async {
            // Without a state file there is nothing that could fail.
            let _ = server.run(std::future::pending()).await;
        });
        Ok(Aws { endpoint: format!("http://{AGENT_ADDRESS}"), handle, cluster: Some(cluster), server })
    }
}

impl Aws {
    /// What happens to tasks from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<TaskEvent> {
        self.cluster.as_ref().map_or_else(|| broadcast::channel(1).1, Cluster::events)
    }

    /// Starts the service.
    pub(super) fn serve(&self, definition: &str, spec: &ServiceSpec) -> Result<(), DemoError> {
        self.cluster.iter().try_for_each(|cluster| cluster.serve(definition, spec).map(drop))?;
        Ok(())
    }

    /// Stops every task; the local AWS goes on.
    pub(super) async fn shutdown(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            cluster.shutdown().await;
        }
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The load on the service, second by second.
pub(super) struct Watched<'a> {
    screen: &'a Screen,
    handle: Handle,
    what: String,
    rate: f64,
    targets: watch::Receiver<Vec<Target>>,
    load: Load,
    seconds: mpsc::UnboundedReceiver<Second>,
    all: Vec<Second>,
    follower: JoinHandle<()>,
}

impl<'a> Watched<'a> {
    /// Starts a load of `rate` requests per second. The balancer follows the `service` by `events`, which must be older
    /// than its tasks.
    pub(super) fn start(
        screen: &'a Screen,
        handle: &Handle,
        events: broadcast::Receiver<TaskEvent>,
        service: &str,
        rate: f64,
    ) -> Result<Watched<'a>, DemoError> {
        let (registered, targets) = watch::channel(Vec::new());
        let follower = tokio::spawn(follow(events, registered));
        let what = format!("GET / of service {service}");
        let (load, seconds) = load(handle, &what, rate, targets.clone())?;
        let handle = handle.clone();
        Ok(Watched { screen, handle, what, rate, targets, load, seconds, all: Vec::new(), follower })
    }

    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Begins again with half of the load; what was seen so far is forgotten.
    pub(super) async fn halve(&mut self) -> Result<(), DemoError> {
        self.rate /= 2.0;
        self.seconds.close();
        let (load, seconds) = load(&self.handle, &self.what, self.rate, self.targets.clone())?;
        std::mem::replace(&mut self.load, load).stop().await;
        self.seconds = seconds;
        self.all.clear();
        Ok(())
    }

    /// The tasks that the load balancer sends requests to.
    pub(super) fn healthy(&self) -> Vec<String> {
        self.load.healthy().borrow().clone()
    }

    /// Every second so far.
    pub(super) fn all(&self) -> &[Second] {
        &self.all
    }

    /// Shows the next second.
    pub(super) async fn second(&mut self, word: &str) -> Result<&Second, DemoError> {
        let second = timeout(SECOND_LIMIT, self.seconds.recv()).await.ok().flatten();
        let second = second.ok_or_else(|| DemoError::Unmet("the load generator has stopped".into()))?;
        self.screen.second(self.all.len(), &second, SLOWEST_MS, word);
        self.all.push(second);
        Ok(&self.all[self.all.len() - 1])
    }

    /// Shows the seconds until an experiment has ended; its last status.
    pub(super) async fn experiment(&mut self, fis: &Fis, id: &str) -> Result<String, DemoError> {
        let mut progress = Progress::default();
        loop {
            let experiment = fis.experiment(id).await?;
            let changes = progress.update(&experiment);
            for line in &changes {
                self.screen.note(line);
            }
            let status = experiment["state"]["status"].as_str().unwrap_or_default();
            if is_final(status) {
                return Ok(status.to_owned());
            }
            self.second("").await?;
        }
    }

    /// Ends the load; its last requests are answered first.
    pub(super) async fn stop(self) {
        self.follower.abort();
        self.load.stop().await;
    }
}

/// A load whose seconds go to the recorder and to the receiver.
fn load(
    handle: &Handle,
    what: &str,
    rate: f64,
    targets: watch::Receiver<Vec<Target>>,
) -> Result<(Load, mpsc::UnboundedReceiver<Second>), DemoError> {
    let (sender, seconds) = mpsc::unbounded_channel();
    handle.observe(|recorder| recorder.load_begins(what.to_owned(), rate));
    let handle = handle.clone();
    let options = LoadOptions { rate, ..LoadOptions::default() };
    let load = Load::start(options, targets, move |second| {
        // The demo may have ended, or gone on with another load: then it is not the recorder's any more.
        if sender.send(second.clone()).is_ok() {
            handle.observe(|recorder| recorder.second(second));
        }
    });
    Ok((load.map_err(system("starting the load"))?, seconds))
}

/// Registers running tasks with the load balancer, and takes out those that have stopped, [`DEREGISTRATION`]
/// later: until then it goes by its health checks.
async fn follow(mut events: broadcast::Receiver<TaskEvent>, registered: watch::Sender<Vec<Target>>) {
    let registered = Arc::new(registered);
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        match (event.change, event.address) {
            (Change::Started { .. }, Some(address)) => registered.send_modify(|targets| {
                targets.push(Target::at(event.arn, (address, PORT).into()));
            }),
            (Change::Stopping { .. } | Change::Stopped { .. }, _) => {
                let registered = Arc::clone(&registered);
                tokio::spawn(async move {
                    tokio::time::sleep(DEREGISTRATION).await;
                    registered.send_modify(|targets| targets.retain(|target| target.task != event.arn));
                });
            }
            _ => {}
        }
    }
}
