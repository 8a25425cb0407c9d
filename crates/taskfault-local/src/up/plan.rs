//! From a task definition to processes: which program, with which environment, in which folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::Settings;
use super::awslogs::{Destination, groups, note};
use crate::stage::{AGENT_ADDRESS, Network, Program, TaskSpec};
use aws_local::Context;
use aws_local::ecs::{self, ContainerDefinition, Definition};

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
    pub spec: TaskSpec,
    /// Names of the containers whose end is the end of the task.
    pub essential: BTreeSet<String>,
    /// Of every container, between SIGTERM and SIGKILL.
    pub grace: BTreeMap<String, Duration>,
    pub folder: PathBuf,
    /// Log files whose lines go to a log group.
    pub logs: Vec<(PathBuf, Destination)>,
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
    let mut programs = Vec::new();
    for container in definition.containers() {
        let state = folder.join(format!("{}-state", container.name));
        if is_sidecar(&container) {
            fs::create_dir_all(&state).map_err(failed)?;
        }
        let (file, arguments) = command(&container, settings)?;
        let file = named(&container, file, &folder)?;
        programs.push(Program {
            path: file,
            arguments,
            environment: environment(task, &container, &state, context),
            log: Some(folder.join(format!("{}.log", container.name))),
            essential: container.essential,
            name: container.name,
        });
    }
    let containers = definition.containers();
    let mut logs = Vec::new();
    for container in &containers {
        let of_task = (task.arn.as_str(), task.id.as_str());
        let destination = Destination::of(container, of_task, &context.region)?;
        logs.extend(destination.map(|it| (folder.join(format!("{}.log", container.name)), it)));
    }
    let grace = |it: &ContainerDefinition| {
        it.stop_timeout.map_or(STOP_TIMEOUT, |seconds| Duration::from_secs(seconds.into()))
    };
    Ok(Plan {
        essential: containers.iter().filter(|it| it.essential).map(|it| it.name.clone()).collect(),
        grace: containers.iter().map(|it| (it.name.clone(), grace(it))).collect(),
        spec: TaskSpec { name: task.id.clone(), network: Network::Own, cpu: None, programs },
        folder,
        logs,
    })
}

/// A container's program and its arguments.
fn command(container: &ContainerDefinition, settings: &Settings) -> Result<(PathBuf, Vec<String>), String> {
    let name = &container.name;
    let special = special_image(&container.image);
    let mut words = match settings.programs.get(name) {
        Some(words) => words.clone(),
        None => match special {
            // The image's entry point is the program itself.
            Some(program) => return stand_in(container, program),
            None => [container.entry_point.as_slice(), container.command.as_slice()].concat(),
        },
    };
    let hint = format!("give it an entryPoint or a command, or --program {name}=\"PROGRAM ARGUMENTS\"");
    if words.is_empty() {
        return Err(format!("container {name} ({}) has no command; {IMAGES}; {hint}", container.image));
    }
    let program = words.remove(0);
    let path = container.environment.iter().find(|it| it.name == "PATH").map_or(PATH, |it| &it.value);
    match find(&program, path) {
        Some(file) => Ok((file, words)),
        None => Err(format!(
            "container {name}: there is no program {program:?} on this machine; {IMAGES}; change its command, \
             or give --program {name}=\"PROGRAM ARGUMENTS\""
        )),
    }
}

/// The program of ours that an image stands for: the last part of its repository's name, without registry,
/// tag and digest.
fn special_image(image: &str) -> Option<&'static str> {
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
fn named(container: &ContainerDefinition, file: PathBuf, folder: &Path) -> Result<PathBuf, String> {
    let Some(name) = container.docker_labels.get(PROCESS_NAME_LABEL) else { return Ok(file) };
    if name.is_empty() || name.contains('/') || name.len() > 15 {
        let message = "is the name of a process: 1 to 15 bytes without a slash";
        return Err(format!("container {}: {PROCESS_NAME_LABEL} {message}", container.name));
    }
    let folder = folder.join(format!("{}-bin", container.name));
    let link = folder.join(name);
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
        ("AWS_EXECUTION_ENV", "AWS_ECS_EC2".to_owned()),
        ("ECS_AGENT_URI", format!("{agent}/api/{address}")),
        ("ECS_CONTAINER_METADATA_URI_V4", format!("{agent}/v4/{address}/container/{}", container.name)),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    variables
}

/// What a user of a definition should know: what it asks for and does not get here, and what ECS would not
/// give where the stage does.
pub(super) fn notes(definition: &Map<String, Value>) -> Vec<String> {
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
        const LEFT_OUT: [&str; 10] = [
            "dependsOn",
            "environmentFiles",
            "firelensConfiguration",
            "healthCheck",
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
        let image_only = container(json!({ "name": "app", "image": "nginx" }));
        let error = command(&image_only, &settings()).unwrap_err();
        assert!(error.contains("(nginx) has no command; images are not run here"), "{error}");
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
        let link = named(&labelled("python"), PathBuf::from("/bin/sh"), folder.path()).unwrap();
        assert_eq!(link.file_name().unwrap(), "python");
        assert!(link.canonicalize().unwrap().is_file());
        for wrong in ["", "a/b", "longer-than-the-kernel-keeps"] {
            assert!(named(&labelled(wrong), PathBuf::from("/bin/sh"), folder.path()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_played_is_said() {
        let definition = json!({
            "cpu": "512",
            "containerDefinitions": [{ "name": "app", "healthCheck": {}, "secrets": [], "user": "1" }],
        });
        let notes = notes(definition.as_object().unwrap()).join("\n");
        assert!(notes.contains("pidMode is not task"), "{notes}");
        assert!(notes.contains("container app: healthCheck, user left out here"), "{notes}");
        assert!(notes.contains("not enforced"), "{notes}");
    }
}
