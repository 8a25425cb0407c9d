//! From a task definition to processes: which program, with which environment, in which folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::Settings;
use super::awslogs::{Destination, groups, note};
use crate::stage::{AGENT_ADDRESS, Check, Network, Program, TaskSpec};
use aws_local::Context;
use aws_local::ecs::{self, ContainerDefinition, Definition, Dependency, HealthCheck, Subnet};

/// Images that stand for programs of this project, which are run in their place.
pub const SPECIAL_IMAGES: [&str; 2] = ["taskfault", "taskfault-local"];

/// What is said about images.
pub const IMAGES: &str =
    "images are not run here: a container's command must begin with a program of this machine";

/// A docker label with the name that a container's process is to have, for an experiment that kills by name.
/// The program is started through a symbolic link of that name.
pub const PROCESS_NAME_LABEL: &str = "taskfault.process-name";

/// What a container finds its programs on, if its environment does not say (Docker's default).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Between SIGTERM and SIGKILL, if the definition does not say (ECS_CONTAINER_STOP_TIMEOUT).
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What is needed to run a task.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its network, without programs.
    pub spec: TaskSpec,
    /// In the order of the definition.
    pub containers: Vec<Container>,
    pub folder: PathBuf,
    /// Log files whose lines go to a log group.
    pub logs: Vec<(PathBuf, Destination)>,
}

/// What is needed to run a container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub program: Program,
    /// Its end is the end of the task.
    pub essential: bool,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What must have happened to others before it is started.
    pub depends_on: Vec<Dependency>,
    /// How long others wait for it.
    pub start_timeout: Option<Duration>,
    pub health: Option<Health>,
}

/// How a container is asked whether it is well.
#[derive(Debug, Clone)]
pub(super) struct Health {
    pub check: Check,
    /// From one check to the next, and from the start to the first.
    pub interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// From the start; failures in it do not count.
    pub start_period: Duration,
}

/// Checks that a definition can be run, without running or making anything.
///
/// # Errors
/// The first container that cannot, and what to do.
pub(super) fn check(definition: &Map<String, Value>, settings: &Settings) -> Result<(), String> {
    let containers = definition.get("containerDefinitions").filter(|it| !it.is_null()).cloned();
    let containers = containers.ok_or("the task definition has no containerDefinitions")?;
    let containers: Vec<ContainerDefinition> =
        serde_json::from_value(containers).map_err(|error| format!("containerDefinitions: {error}"))?;
    containers.iter().try_for_each(|container| command(container, settings).map(drop))
}

/// The log groups that a definition's containers write to, by region and name, with whether the log driver makes them.
pub(super) fn log_groups(definition: &Map<String, Value>, region: &str) -> BTreeMap<(String, String), bool> {
    let told = containers(definition).into_iter();
    groups(told.filter_map(|container| Destination::of(&container, ("", ""), region).ok()?))
}

fn containers(definition: &Map<String, Value>) -> Vec<ContainerDefinition> {
    let all = definition.get("containerDefinitions").cloned().unwrap_or_default();
    serde_json::from_value(all).unwrap_or_default()
}

/// The names of a definition's containers.
pub(super) fn names(definition: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|container| container["name"].as_str())
}

/// The plan of a task; makes its folder.
///
/// # Errors
/// A container whose command cannot be run, or a folder that cannot be made.
pub(super) fn of(
    task: &ecs::Task,
    definition: &Definition,
    settings: &Settings,
    context: &Context,
) -> Result<Plan, String> {
    let folder = settings.folder.join(&task.id);
    let failed = |error: std::io::Error| format!("making {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let mut containers = Vec::new();
    let mut logs = Vec::new();
    for container in definition.containers() {
        let state = folder.join(format!("{}-state", container.name));
        if is_sidecar(&container) {
            fs::create_dir_all(&state).map_err(failed)?;
        }
        let log = folder.join(format!("{}.log", container.name));
        let destination =
            Destination::of(&container, (task.arn.as_str(), task.id.as_str()), &context.region)?;
        logs.extend(destination.map(|destination| (log.clone(), destination)));
        let (file, arguments) = command(&container, settings)?;
        let program = Program {
            path: named(&container, file, &folder, settings)?,
            arguments,
            environment: environment(task, &container, &state, context),
            log: Some(log),
            // The containers are ended in the order of what they depend on, which the stage does not know.
            essential: false,
            name: container.name.clone(),
        };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        containers.push(Container {
            health: health(&container, &program.environment),
            program,
            essential: container.essential,
            grace: container.stop_timeout.map_or(STOP_TIMEOUT, seconds),
            depends_on: container.depends_on,
            start_timeout: container.start_timeout.map(seconds),
        });
    }
    let Subnet { first, bits } = task.zone.subnet();
    let network = Network::Part { first, bits };
    let spec = TaskSpec { name: task.id.clone(), network, cpu: None, programs: Vec::new(), more: true };
    Ok(Plan { spec, containers, folder, logs })
}

/// The health check of a container; None if there is none, or its program is not on this machine.
fn health(container: &ContainerDefinition, environment: &BTreeMap<String, String>) -> Option<Health> {
    let check = container.health_check.as_ref()?;
    let (path, arguments) = health_command(container, check)?;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Some(Health {
        check: Check {
            program: container.name.clone(),
            path,
            arguments,
            environment: environment.clone(),
            timeout_ms: u64::from(check.timeout) * 1000,
        },
        interval: seconds(check.interval),
        retries: check.retries,
        start_period: seconds(check.start_period),
    })
}

fn health_command(container: &ContainerDefinition, check: &HealthCheck) -> Option<(PathBuf, Vec<String>)> {
    let (kind, words) = check.command.split_first()?;
    if kind == "CMD-SHELL" {
        return Some((find("sh", PATH)?, vec!["-c".to_owned(), words.first()?.clone()]));
    }
    let (program, arguments) = words.split_first()?;
    // The image has the program at its root.
    if is_sidecar(container) && program == "/taskfault" {
        let own = std::env::current_exe().ok()?;
        return Some((own.with_file_name("taskfault"), arguments.to_vec()));
    }
    Some((find(program, path_of(container))?, arguments.to_vec()))
}

/// Where a container's programs are looked for.
fn path_of(container: &ContainerDefinition) -> &str {
    container.environment.iter().find(|it| it.name == "PATH").map_or(PATH, |it| &it.value)
}

/// Whether an image with nothing to run here gets the sample application in its place.
fn is_sample(container: &ContainerDefinition, settings: &Settings) -> bool {
    !settings.programs.contains_key(&container.name)
        && special_image(&container.image).is_none()
        && container.entry_point.is_empty()
        && container.command.is_empty()
}

/// The sample application in place of an image: on the container's first port, or on any that is free.
fn sample(container: &ContainerDefinition) -> Result<(PathBuf, Vec<String>), String> {
    let port = container.port_mappings.iter().find_map(|mapping| mapping.container_port).unwrap_or(0);
    let own = std::env::current_exe().map_err(|error| format!("finding this program's file: {error}"))?;
    Ok((own, ["application".to_owned(), "--port".to_owned(), port.to_string()].into()))
}

/// The last part of an image's name, as the name of a process.
fn image_name(image: &str) -> Option<String> {
    let name = image.rsplit('/').next()?.split(['@', ':']).next()?;
    let name: String = name.chars().take(15).collect();
    (!name.is_empty() && name.is_ascii()).then_some(name)
}

/// A container's program and its arguments.
fn command(container: &ContainerDefinition, settings: &Settings) -> Result<(PathBuf, Vec<String>), String> {
    let name = &container.name;
    let special = special_image(&container.image);
    if is_sample(container, settings) {
        return sample(container);
    }
    let mut words = match settings.programs.get(name) {
        Some(words) => words.clone(),
        None => match special {
            // The image's entry point is the program itself.
            Some(program) => return stand_in(container, program),
            None => [container.entry_point.as_slice(), container.command.as_slice()].concat(),
        },
    };
    if words.is_empty() {
        return Err(format!("container {name} ({image}) has no command", image = container.image));
    }
    let program = words.remove(0);
    match find(&program, path_of(container)) {
        Some(file) => Ok((file, words)),
        None => Err(format!(
            "container {name}: there is no program {program:?} on this machine; {IMAGES}; change its command, \
             or give --program {name}=\"PROGRAM ARGUMENTS\""
        )),
    }
}

/// The program of ours that an image stands for: the last part of its repository's name, without registry,
/// tag and digest.
pub fn special_image(image: &str) -> Option<&'static str> {
    let name = image.rsplit('/').next()?;
    let name = name.split(['@', ':']).next()?;
    SPECIAL_IMAGES.into_iter().find(|special| *special == name)
}

fn is_sidecar(container: &ContainerDefinition) -> bool {
    special_image(&container.image) == Some("taskfault")
}

fn stand_in(container: &ContainerDefinition, program: &str) -> Result<(PathBuf, Vec<String>), String> {
    let own = std::env::current_exe().map_err(|error| format!("finding this program's file: {error}"))?;
    let mut arguments = container.command.clone();
    if program == "taskfault-local" {
        return Ok((own, arguments));
    }
    if arguments.is_empty() {
        arguments.push("sidecar".to_owned());
    }
    let file = own.with_file_name(program);
    match file.is_file() {
        true => Ok((file, arguments)),
        false => Err(format!(
            "container {}: its image stands for {}, which is not there; build it (`cargo build --release`)",
            container.name,
            file.display()
        )),
    }
}

/// The file of a program: as it is where it has a slash, else on the container's `PATH`.
fn find(program: &str, path: &str) -> Option<PathBuf> {
    let is_program =
        |file: &Path| file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        // The task's processes have this process's working directory, so a relative one holds.
        return Some(PathBuf::from(program)).filter(|file| is_program(file));
    }
    path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| is_program(file))
}

/// The same program under the name that the definition wants its process to have.
fn named(
    container: &ContainerDefinition,
    file: PathBuf,
    folder: &Path,
    settings: &Settings,
) -> Result<PathBuf, String> {
    let label = container.docker_labels.get(PROCESS_NAME_LABEL).cloned();
    let of_image = || image_name(&container.image).filter(|_| is_sample(container, settings));
    let Some(name) = label.or_else(of_image) else { return Ok(file) };
    if name.is_empty() || name.contains('/') || name.len() > 15 {
        let message = "is the name of a process: 1 to 15 bytes without a slash";
        return Err(format!("container {}: {PROCESS_NAME_LABEL} {message}", container.name));
    }
    let folder = folder.join(format!("{}-bin", container.name));
    let link = folder.join(&name);
    let failed = |error: std::io::Error| format!("making {}: {error}", link.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    let file = file.canonicalize().map_err(failed)?;
    symlink(file, &link).map_err(failed)?;
    Ok(link)
}

/// What a container finds in its environment: what the definition says, and what ECS adds.
fn environment(
    task: &ecs::Task,
    container: &ContainerDefinition,
    state: &Path,
    context: &Context,
) -> BTreeMap<String, String> {
    let service = task.service.as_deref().unwrap_or(&task.family);
    let agent = format!("http://{AGENT_ADDRESS}");
    let address = format!("{}/{service}/{}", task.cluster, task.id);
    let region = context.region.as_str();
    // What the definition says wins over these.
    let mut variables: BTreeMap<String, String> = [
        ("PATH", PATH.to_owned()),
        ("HOME", "/".to_owned()),
        ("HOSTNAME", task.id.clone()),
        ("AWS_REGION", region.to_owned()),
        ("AWS_DEFAULT_REGION", region.to_owned()),
        // Not of ECS: it leads SDKs, and the sidecar, to the local AWS.
        ("AWS_ENDPOINT_URL", agent.clone()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if is_sidecar(container) {
        // /var/lib/amazon/ssm is one folder for all tasks here.
        variables.insert("TASKFAULT_STATE_DIR".to_owned(), state.display().to_string());
    }
    variables.extend(container.environment.iter().map(|it| (it.name.clone(), it.value.clone())));
    // These are ECS's own.
    let own = [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", format!("/v2/credentials/{}", task.id)),
        ("AWS_EXECUTION_ENV", format!("AWS_ECS_{}", task.launch.as_str())),
        ("ECS_AGENT_URI", format!("{agent}/api/{address}")),
        ("ECS_CONTAINER_METADATA_URI_V4", format!("{agent}/v4/{address}/container/{}", container.name)),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    variables
}

/// What a user of a definition should know: what it asks for and does not get here, and what ECS would not
/// give where the stage does.
pub(super) fn notes(definition: &Map<String, Value>, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let text = |member: &str| definition.get(member).and_then(Value::as_str);
    if text("pidMode") != Some("task") {
        notes.push(
            "pidMode is not task: in ECS the sidecar would not see the application's processes; here it does"
                .to_owned(),
        );
    }
    if text("networkMode") == Some("host") {
        notes.push("networkMode host: here every task has a network of its own, as with awsvpc".to_owned());
    }
    if text("cpu").is_some() || text("memory").is_some() {
        notes.push("cpu and memory: told to the task in its metadata, not enforced".to_owned());
    }
    notes.extend(containers(definition).iter().filter_map(note));
    let containers = definition.get("containerDefinitions").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        const LEFT_OUT: [&str; 8] = [
            "environmentFiles",
            "firelensConfiguration",
            "mountPoints",
            "restartPolicy",
            "secrets",
            "user",
            "volumesFrom",
            "workingDirectory",
        ];
        let is_there = |member: &&str| match container.get(*member) {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        let left_out: Vec<&str> = LEFT_OUT.into_iter().filter(is_there).collect();
        if !left_out.is_empty() {
            let name = container["name"].as_str().unwrap_or_default();
            notes.push(format!("container {name}: {} left out here", left_out.join(", ")));
        }
        if let Ok(container) = serde_json::from_value::<ContainerDefinition>(container.clone()) {
            notes.extend(container_notes(&container, settings));
        }
    }
    notes
}

fn container_notes(container: &ContainerDefinition, settings: &Settings) -> Vec<String> {
    let ContainerDefinition { name, image, .. } = container;
    let mut notes = Vec::new();
    if is_sample(container, settings) {
        let port = container.port_mappings.iter().find_map(|mapping| mapping.container_port);
        let port = port.map_or_else(|| "any free port".to_owned(), |port| format!("port {port}"));
        let called = image_name(image).map(|name| format!(", called {name}")).unwrap_or_default();
        notes.push(format!(
            "container {name}: images are not run here; in place of {image} a sample application answers on {port}\
             {called}; --program {name}=\"PROGRAM ARGUMENTS\" runs another program"
        ));
    }
    let check = container.health_check.as_ref();
    if check.is_some_and(|check| health_command(container, check).is_none()) {
        notes.push(format!(
            "container {name}: its health check needs a program that is not on this machine; it stays UNKNOWN"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(value: Value) -> ContainerDefinition {
        serde_json::from_value(value).unwrap()
    }

    fn settings() -> Settings {
        Settings::in_folder(Path::new("/nowhere"))
    }

    #[test]
    fn a_command_is_a_program_of_this_machine() {
        let shell = container(json!({ "name": "app", "entryPoint": ["sh", "-c"], "command": ["exit 0"] }));
        let (file, arguments) = command(&shell, &settings()).unwrap();
        assert!(file.is_absolute() && file.ends_with("sh"), "{}", file.display());
        assert_eq!(arguments, ["-c", "exit 0"]);
        let missing = container(json!({ "name": "app", "command": ["no-such-program-anywhere"] }));
        let error = command(&missing, &settings()).unwrap_err();
        assert!(error.contains("container app") && error.contains("--program app="), "{error}");
    }

    #[test]
    fn an_image_without_a_command_gets_the_sample_application_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let image_only = container(json!({
            "name": "app", "image": "public.ecr.aws/docker/library/httpd:2.4", "portMappings": [{ "containerPort": 81 }],
        }));
        let (file, arguments) = command(&image_only, &settings()).unwrap();
        assert_eq!(arguments, ["application", "--port", "81"]);
        let link = named(&image_only, file, folder.path(), &settings()).unwrap();
        assert_eq!(link.file_name().unwrap(), "httpd");
        let said = container_notes(&image_only, &settings()).join("\n");
        assert!(
            said.contains("in place of public.ecr.aws/docker/library/httpd:2.4 a sample application"),
            "{said}"
        );
        assert!(said.contains("port 81, called httpd") && said.contains("--program app="), "{said}");
        let plain = container(json!({ "name": "app", "image": "worker" }));
        assert_eq!(command(&plain, &settings()).unwrap().1, ["application", "--port", "0"]);
    }

    #[test]
    fn a_health_check_is_a_program_of_this_machine_or_a_line_of_its_shell() {
        let checked = |image: &str, words: Value| {
            let it = container(json!({ "name": "app", "image": image, "healthCheck": { "command": words } }));
            health(&it, &BTreeMap::new())
        };
        let shell = checked("app", json!(["CMD-SHELL", "exit 3"])).unwrap();
        assert!(shell.check.path.ends_with("sh") && shell.check.arguments == ["-c", "exit 3"]);
        assert_eq!(
            (shell.interval, shell.check.timeout_ms, shell.retries),
            (Duration::from_secs(30), 5000, 3)
        );
        assert!(checked("app", json!(["CMD", "no-such-program-anywhere"])).is_none());
        let own = checked("registry/taskfault:1", json!(["CMD", "/taskfault", "status"])).unwrap();
        assert!(own.check.path.ends_with("taskfault") && own.check.arguments == ["status"]);
    }

    #[test]
    fn an_option_takes_the_place_of_a_command() {
        let image_only = container(json!({ "name": "app", "image": "nginx" }));
        let mut settings = settings();
        settings.programs.insert("app".into(), vec!["/bin/sh".into(), "-c".into()]);
        let (file, arguments) = command(&image_only, &settings).unwrap();
        assert_eq!((file, arguments), (PathBuf::from("/bin/sh"), vec!["-c".to_owned()]));
    }

    #[test]
    fn images_of_this_project_are_its_programs() {
        for image in
            ["taskfault", "taskfault:0.1.0", "1.dkr.ecr.eu-west-1.amazonaws.com/x/taskfault@sha256:0"]
        {
            assert_eq!(special_image(image), Some("taskfault"), "{image}");
        }
        assert_eq!(special_image("example.com:5000/taskfault-local"), Some("taskfault-local"));
        for image in ["mytaskfault", "taskfault/app", "localhost:5000/app:taskfault"] {
            assert_eq!(special_image(image), None, "{image}");
        }
    }

    #[test]
    fn a_process_gets_the_name_that_the_label_says() {
        let folder = tempfile::tempdir().unwrap();
        let labelled =
            |name: &str| container(json!({ "name": "app", "dockerLabels": { PROCESS_NAME_LABEL: name } }));
        let named = |container: &ContainerDefinition| {
            super::named(container, PathBuf::from("/bin/sh"), folder.path(), &settings())
        };
        let link = named(&labelled("python")).unwrap();
        assert_eq!(link.file_name().unwrap(), "python");
        assert!(link.canonicalize().unwrap().is_file());
        for wrong in ["", "a/b", "longer-than-the-kernel-keeps"] {
            assert!(named(&labelled(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_played_is_said() {
        let definition = json!({
            "cpu": "512",
            "containerDefinitions": [{ "name": "app", "volumesFrom": [{}], "secrets": [], "user": "1" }],
        });
        let notes = notes(definition.as_object().unwrap(), &settings()).join("\n");
        assert!(notes.contains("pidMode is not task"), "{notes}");
        assert!(notes.contains("container app: user, volumesFrom left out here"), "{notes}");
        assert!(notes.contains("not enforced"), "{notes}");
    }
}
