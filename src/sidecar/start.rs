//! The start of a sidecar: from an environment to a registered instance with fresh credentials.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::footprint::Footprint;
use super::liveness::{Liveness, Phase};
use super::lock::{LockError, PATIENCE, StateLock};
use super::status;
use crate::aws::AwsError;
use crate::aws::clock::Clock;
use crate::aws::credentials::TaskRole;
use crate::aws::endpoint::{EndpointError, Endpoints};
use crate::aws::error::UNKNOWN;
use crate::aws::json::JsonClient;
use crate::aws::retry::{Retry, RetryBudget};
use crate::channel::heartbeat::{self, Machine};
use crate::config::Config;
use crate::identity::activation::Activation;
use crate::identity::enrolment::enrol;
use crate::identity::key::{InstanceKey, KeyError, PendingKey};
use crate::identity::registration::register as register_instance;
use crate::identity::store::{Store, StoreError, Stored};
use crate::identity::token::Identity;
use effects::ecs_agent;
use effects::state_folder;
use effects::task::ecs_agent::{AGENT_VARIABLE, ALLOW_HOST_NETWORK_VARIABLE, AgentAccess};
use effects::task::metadata::{MetadataError, TaskMetadata};
use http_client::{Client, ClientError};

/// A fleet that starts at once is throttled for as long as its calls take: ten thousand tasks make four calls each,
/// at ten a second that is more than an hour. A service that fails recovers or is replaced; an endpoint that is not
/// there when the network is will not come.
pub const RETRY_BUDGET: RetryBudget = RetryBudget {
    unreachable: Duration::from_secs(20),
    failing: Duration::from_secs(600),
    throttled: Duration::from_secs(2 * 3600),
};
/// How long a call that is under way may take to end when the start is broken off: what it makes can be removed
/// only if its answer is heard. With [`RETIRE_LIMIT`] it stays inside the 30 s that ECS gives.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// How often is looked whether a lock has gone whose holder is dead.
const LOCKED_AGAIN: Duration = Duration::from_millis(20);
const RETIRE_LIMIT: Duration = Duration::from_secs(12);

/// A sidecar that the service knows.
#[derive(Debug)]
pub(super) struct Registered {
    pub task: TaskMetadata,
    pub identity: Rc<Identity>,
    pub footprint: Footprint,
    /// The way to the ECS agent's fault endpoints.
    pub agent: AgentAccess,
}

/// Why the sidecar did not start. Each is one line that says what failed and where to look.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("the thread that works in the state folder could not be started, or broke off")]
    Thread(#[source] std::io::Error),
    #[error(
        "cannot make a socket in {}: {reason}; the health check asks there, so the state folder must be on a file system \
         that has sockets (--state-dir)", folder.display()
    )]
    Socket { folder: PathBuf, reason: std::io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("stopped while starting")]
    Stopped,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot make the instance's key: {0}")]
    Generate(String),
    #[error("cannot register this task with Systems Manager: {error}{hint}")]
    Aws { error: AwsError, hint: &'static str },
}

/// Registers the task, or goes on as the instance that an earlier life of this container registered. When
/// `stop` comes in the middle, a step that is under way may still end; then what was made is removed.
pub(super) async fn register(
    config: &Config,
    stop: &CancellationToken,
    liveness: &Liveness,
) -> Result<Registered, StartError> {
    register_with(config, stop, liveness, &PendingKey::begin).await
}

/// As [`register`], with keys that come from `begin_key`.
async fn register_with(
    config: &Config,
    stop: &CancellationToken,
    liveness: &Liveness,
    begin_key: &dyn Fn() -> PendingKey,
) -> Result<Registered, StartError> {
    let folder = config.state_dir.clone();
    let open = move || Store::open(&folder).map(|store| (store.holds_identity(), store));
    let (holds_identity, store) = in_folder(stop, open).await?;
    // The key takes more CPU than everything else takes time, so it is begun before anything is asked for.
    let key = Cell::new((!holds_identity).then(begin_key));
    let client = Client::new(&config.network)?;
    // What the task itself has at hand is not behind a proxy.
    let direct = client.direct();
    let task = tokio::select! {
        task = TaskMetadata::read(&direct, &config.metadata_uri) => task?,
        () = stop.cancelled() => return Err(StartError::Stopped),
    };
    let (region, partition) = (task.arn.region.clone(), &task.arn.partition);
    let endpoints = Endpoints::resolve(&region, partition, |name| config.variable(name))?;
    tracing::info!(task = %task.arn, zone = task.availability_zone, "this is the task");

    let agent = agent_access(config, &task, &endpoints);
    tidy_up(&agent, config);
    let clock = Clock::default();
    let json = JsonClient::new(client.clone(), endpoints.clone(), region.clone(), clock.clone());
    let task_role = TaskRole { source: config.credentials.clone(), client: direct };
    let footprint = Footprint::new(client, endpoints, region, task_role, clock);
    let role_name = &config.role_name;
    let retry = Retry::new(stop, RETRY_BUDGET);
    let enrolment = Enrolment {
        role_name,
        footprint: &footprint,
        json,
        store,
        task: &task,
        stop,
        liveness,
        retry,
        key,
        begin_key,
    };
    let outcome = {
        let online = enrolment.online_or_waiting();
        tokio::pin!(online);
        tokio::select! {
            outcome = &mut online => outcome,
            () = stop.cancelled() => match tokio::time::timeout(STEP_LIMIT, online).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::warn!(
                        "a call was not answered in time; an activation that it made expires within ten minutes"
                    );
                    Err(StartError::Stopped)
                }
            },
        }
    };
    match outcome {
        Ok(identity) => Ok(Registered { identity: Rc::new(identity), footprint, task, agent }),
        Err(error) => {
            status::remove(&enrolment.store);
            // What could not be removed is said there; the reason why we stop is the error.
            let made = footprint.is_some();
            if footprint.retire(RETIRE_LIMIT, None).await
                && made
                && let Err(error) = enrolment.store.clear().await
            {
                tracing::warn!(%error, "the identity of an instance that is gone stays on disk");
            }
            Err(error)
        }
    }
}

/// Takes the state folder for this sidecar, unless another one has it. One that was killed a moment ago has not.
pub(super) async fn locked(stop: &CancellationToken, folder: &Path) -> Result<StateLock, StartError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mine = folder.to_owned();
        match in_folder(stop, move || StateLock::take(&mine)).await {
            Err(StartError::Lock(taken)) if taken.may_pass() && Instant::now() < until => {
                tokio::time::sleep(LOCKED_AGAIN).await;
            }
            outcome => return outcome,
        }
    }
}

/// Does `work` in the state folder, as soon as that answers, unless `stop` comes before.
pub(super) async fn in_folder<T, E>(
    stop: &CancellationToken,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, StartError>
where
    T: Send + 'static,
    E: Into<StartError> + Send + 'static,
{
    tokio::select! {
        done = state_folder::patiently(work) => done.map_err(StartError::Thread)?.map_err(Into::into),
        () = stop.cancelled() => Err(StartError::Stopped),
    }
}

fn agent_access(config: &Config, task: &TaskMetadata, endpoints: &Endpoints) -> AgentAccess {
    AgentAccess::new(config.variable(AGENT_VARIABLE), task, endpoints.hosts(&config.network.proxies))
        .allowing(config.variable(ALLOW_HOST_NETWORK_VARIABLE).as_deref())
}

/// Stops what an earlier life of this task left running at the ECS agent: beside everything else, because the
/// agent may be slow, and at once, because such a fault may stand in the way of the registration.
fn tidy_up(agent: &AgentAccess, config: &Config) {
    let (agent, state_dir) = (agent.clone(), config.state_dir.clone());
    let Some(uri) = agent.uri.clone() else { return };
    tokio::task::spawn_local(async move { ecs_agent::tidy_up(&agent, &uri, &state_dir).await });
}

/// The way from a task to an instance that is Online.
struct Enrolment<'a> {
    role_name: &'a str,
    footprint: &'a Footprint,
    json: JsonClient,
    store: Store,
    task: &'a TaskMetadata,
    stop: &'a CancellationToken,
    liveness: &'a Liveness,
    retry: Retry<'a>,
    /// The key that was begun with the start; None once it is taken.
    key: Cell<Option<PendingKey>>,
    begin_key: &'a dyn Fn() -> PendingKey,
}

impl Enrolment<'_> {
    /// As [`Self::online`]. While it is throttled the status file says so: that is no reason to replace the task,
    /// which would have to wait like this one.
    async fn online_or_waiting(&self) -> Result<Identity, StartError> {
        tokio::select! {
            outcome = self.online() => outcome,
            () = self.note_waiting() => unreachable!("it never returns"),
        }
    }

    async fn note_waiting(&self) {
        self.retry.throttled().await;
        self.liveness.set(Phase::Throttled);
        status::write_waiting(&self.store);
        std::future::pending().await
    }

    async fn online(&self) -> Result<Identity, StartError> {
        let identity = match self.resume().await? {
            Some(identity) => identity,
            None => self.enrol().await?,
        };
        let machine = machine(self.task);
        self.call(|| heartbeat::send(&identity, &machine, "")).await?;
        tracing::info!(instance = identity.instance_id(), "online");
        Ok(identity)
    }

    /// Makes one call, again and again while that may help. When the sidecar is to stop, a call that is under way
    /// still ends, and no other begins.
    async fn call<T>(&self, operation: impl AsyncFn() -> Result<T, AwsError>) -> Result<T, StartError> {
        if self.stop.is_cancelled() {
            return Err(StartError::Stopped);
        }
        self.retry.call(operation).await.map_err(|error| self.ended(error))
    }

    /// What a failed call means for the start.
    fn ended(&self, error: AwsError) -> StartError {
        if self.stop.is_cancelled() { StartError::Stopped } else { explain(error) }
    }

    /// The stored identity, if the service still knows it. While the service cannot be asked nothing is made
    /// anew: two instances of one task would mean every fault twice.
    async fn resume(&self) -> Result<Option<Identity>, StartError> {
        let (store, task_arn) = (self.store.clone(), self.task.arn.to_string());
        let load = move || Ok::<_, StoreError>(store.load(&task_arn));
        let Some(stored) = in_folder(self.stop, load).await? else { return Ok(None) };
        let Ok(key) = InstanceKey::from_base64(&stored.private_key)
            .inspect_err(|error| tracing::warn!(%error, "cannot use the stored identity, registering anew"))
        else {
            return Ok(None);
        };
        let (instance, activation) = (stored.instance_id.clone(), stored.activation_id.clone());
        let identity = Identity::new(self.json.clone(), self.store.clone(), stored, key);
        match self.call(|| identity.fetch()).await {
            Ok(()) => {
                self.footprint.activated(&activation);
                self.footprint.registered(&instance);
                tracing::info!(instance, "going on as the instance of an earlier life of this container");
                Ok(Some(identity))
            }
            Err(StartError::Aws { error, .. }) if !error.is_transient() => {
                tracing::warn!(instance, %error, "the stored identity is not accepted, registering anew");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A new activation, a new key, a new instance, fresh credentials.
    async fn enrol(&self) -> Result<Identity, StartError> {
        if self.stop.is_cancelled() {
            return Err(StartError::Stopped);
        }
        let arn = self.task.arn.to_string();
        let api = self.footprint.api(SharedCredentialsProvider::new(self.footprint.task_role.clone()));
        let fingerprint = uuid::Uuid::new_v4().to_string();
        let made = OnceCell::new();
        let key = || self.key_unless_stopped(&made);
        let mint = async || {
            let activation = api.create(self.role_name, &arn, &self.task.availability_zone).await?;
            self.footprint.activated(&activation.id);
            Ok(activation)
        };
        let register = async |activation: &Activation| {
            let not_made =
                |reason| AwsError::NotMade { operation: "RegisterManagedInstance".to_owned(), reason };
            let key = key().await.map_err(|reason| not_made(format!("there is no key: {reason}")))?;
            if self.stop.is_cancelled() {
                return Err(not_made("stopped".to_owned()));
            }
            let instance_id = register_instance(&self.json, activation, key, &fingerprint).await?;
            self.footprint.registered(&instance_id);
            Ok(instance_id)
        };
        // The key takes CPU, the activation takes the network: side by side.
        let (generated, enrolled) = tokio::join!(key(), enrol(&self.retry, mint, register));
        if self.stop.is_cancelled() && enrolled.is_err() {
            return Err(StartError::Stopped);
        }
        generated.map_err(StartError::Generate)?;
        let (activation, instance_id) = enrolled.map_err(|error| self.ended(error))?;
        let key = made.into_inner().ok_or_else(|| StartError::Generate("it is gone".to_owned()))?;
        let private_key = key.private_base64()?;
        tracing::info!(instance = instance_id, "registered");
        let stored = Stored {
            instance_id,
            region: self.task.arn.region.clone(),
            task_arn: arn,
            activation_id: activation.id,
            fingerprint,
            private_key,
        };
        let (store, saved) = (self.store.clone(), stored.clone());
        in_folder(self.stop, move || store.save(&saved)).await?;
        let identity = Identity::new(self.json.clone(), self.store.clone(), stored, key);
        self.call(|| identity.fetch()).await?;
        Ok(identity)
    }

    /// The key that was begun with the start, or else one that is begun now. A start that is broken off does not
    /// wait for it.
    async fn key_unless_stopped<'k>(
        &self,
        made: &'k OnceCell<InstanceKey>,
    ) -> Result<&'k InstanceKey, String> {
        let make = || self.key.take().unwrap_or_else(self.begin_key).ready();
        tokio::select! {
            key = made.get_or_try_init(make) => key,
            () = self.stop.cancelled() => Err("stopped".to_owned()),
        }
    }
}

/// Adds to an error what a user can do about it.
fn explain(error: AwsError) -> StartError {
    let hint = match (error.code(), operation(&error)) {
        _ if matches!(error, AwsError::Credentials { .. }) => {
            "; ECS serves them when the task definition has a taskRoleArn"
        }
        ("AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation", "CreateActivation") => {
            "; the task role needs ssm:CreateActivation, ssm:AddTagsToResource and iam:PassRole on the role named \
             by MANAGED_INSTANCE_ROLE_NAME (deploy/iam/task-role.policy.json)"
        }
        ("AccessDeniedException" | "AccessDenied", _) => {
            "; the managed-instance role needs the permissions of deploy/iam/managed-instance-role.policy.json"
        }
        ("ValidationException" | "InvalidParameters" | "InvalidRole", "CreateActivation") => {
            "; check that MANAGED_INSTANCE_ROLE_NAME names an existing role that trusts ssm.amazonaws.com"
        }
        ("ActivationExpired" | "InvalidActivation" | "RegistrationLimitExceeded", _) => {
            "; the activation was made seconds ago: check the clock of this machine, and whether something else \
             deletes or uses activations in this account"
        }
        _ if matches!(&error, AwsError::Unreachable { untrusted: true, .. }) => {
            "; the endpoint's certificate is not trusted: AWS_CA_BUNDLE can name a file with its authority (PEM)"
        }
        _ if matches!(error, AwsError::NotMade { .. }) => "",
        _ if error.code() == UNKNOWN || matches!(error, AwsError::Unexpected { .. }) => {
            "; this is not how AWS puts it: look for a proxy or a load balancer in between"
        }
        ("", _) => {
            "; check the endpoint, DNS, security groups and VPC endpoints for ssm, ssmmessages and ec2messages"
        }
        _ => "",
    };
    StartError::Aws { error, hint }
}

fn operation(error: &AwsError) -> &str {
    match error {
        AwsError::Service { operation, .. }
        | AwsError::Credentials { operation, .. }
        | AwsError::Unreachable { operation, .. }
        | AwsError::Unexpected { operation, .. }
        | AwsError::NotMade { operation, .. } => operation,
    }
}

/// What the heartbeat says about this container.
pub(super) fn machine(task: &TaskMetadata) -> Machine {
    let found = effects::task::machine::Machine::read();
    Machine {
        platform_name: found.platform,
        platform_version: found.version,
        computer_name: found.host.unwrap_or_else(|| task.arn.task_id.clone()),
        ip_address: task.address.clone().unwrap_or_else(|| "127.0.0.1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::fcntl::{Flock, FlockArg};

    use super::*;

    /// The lock of a sidecar of that id, as a process has it that it forked.
    fn inherited(folder: &Path, pid: u32) -> Flock<File> {
        let path = folder.join("sidecar.lock");
        std::fs::write(&path, pid.to_string()).unwrap();
        Flock::lock(File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap()
    }

    #[tokio::test]
    async fn what_a_dead_sidecar_still_locks_is_waited_for() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        // No process has this id: pid_max is at most 4194304.
        let held = inherited(folder.path(), 4_194_305);
        let mut starting = Box::pin(locked(&stop, folder.path()));
        tokio::select! {
            biased;
            early = &mut starting => panic!("it is locked: {early:?}"),
            () = tokio::time::sleep(LOCKED_AGAIN) => {}
        }
        drop(held);
        drop(starting.await.unwrap());
    }

    #[tokio::test]
    async fn a_folder_of_a_living_sidecar_is_refused_at_once() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let _held = inherited(folder.path(), std::process::id());
        let refused = locked(&stop, folder.path()).await.unwrap_err();
        assert!(matches!(&refused, StartError::Lock(taken) if !taken.may_pass()), "{refused}");
    }

    /// What a start does whose metadata are asked for and not there: its end, and how many keys had been begun
    /// when they were asked for.
    async fn start_without_metadata(state_dir: &std::path::Path) -> (StartError, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/v4/x", listener.local_addr().unwrap());
        let environment = [
            ("MANAGED_INSTANCE_ROLE_NAME", "role"),
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "B"),
            ("ECS_CONTAINER_METADATA_URI_V4", &uri),
        ]
        .map(|(name, value)| (name.into(), value.into()));
        let config = Config::read(state_dir.to_owned(), BTreeMap::from(environment)).unwrap();
        let (begun, stop, liveness) = (AtomicUsize::new(0), CancellationToken::new(), Liveness::default());
        let begin_key = || {
            begun.fetch_add(1, Ordering::Relaxed);
            // Longer than any test: who waits for it hangs.
            PendingKey::begin_with(1, || {
                std::thread::park_timeout(Duration::from_secs(600));
                Err("too late".to_owned())
            })
        };
        let asked = async {
            let _connection = tokio::task::spawn_blocking(move || listener.accept()).await;
            stop.cancel();
            begun.load(Ordering::Relaxed)
        };
        let (outcome, begun) = tokio::join!(register_with(&config, &stop, &liveness, &begin_key), asked);
        (outcome.unwrap_err(), begun)
    }

    #[tokio::test]
    async fn the_key_is_begun_before_the_metadata_answer_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (error, begun) = start_without_metadata(folder.path()).await;
        assert!(matches!(error, StartError::Stopped), "{error}");
        assert_eq!(begun, 1);
    }

    #[tokio::test]
    async fn where_an_identity_is_stored_no_key_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored {
            instance_id: "mi-0123456789abcdef0".into(),
            region: "eu-west-1".into(),
            task_arn: "arn".into(),
            activation_id: String::new(),
            fingerprint: String::new(),
            private_key: String::new(),
        };
        Store::open(folder.path()).unwrap().save(&stored).unwrap();
        assert_eq!(start_without_metadata(folder.path()).await.1, 0);
    }

    #[test]
    fn a_refused_activation_names_the_policy() {
        let error = AwsError::Service {
            operation: "CreateActivation".into(),
            code: "AccessDeniedException".into(),
            message: "not authorized".into(),
            status: 400,
            retry_after: None,
        };
        let text = explain(error).to_string();
        assert!(text.contains("not authorized") && text.contains("iam:PassRole"), "{text}");
    }
}
