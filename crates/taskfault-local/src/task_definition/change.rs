//! Puts the sidecar into a definition and takes it out again.
//!
//! What is there stays. What members of the task were before stands in a docker label of the sidecar, so that taking
//! it out gives back the definition that it was put into, also after ECS has had it.

use serde_norway::{Mapping, Value};

use super::example::{Example, NAME, ROLE_VARIABLE, mounted};
use super::members::{
    is_called, list, list_mut, object, object_mut, objects, set, set_missing, text, texts, value,
};
use super::request;

/// The docker label of the sidecar with the task's members that were put in: names where there was none, `name=false`
/// where the member said no.
const ADDED_LABEL: &str = "taskfault.added";
const NET_ADMIN: &str = "NET_ADMIN";
/// The one capability that Fargate adds.
const ON_FARGATE: &str = "SYS_PTRACE";
/// The least memory that ECS takes for a container, in MiB.
const LEAST_MEMORY: u64 = 6;
/// What of an application's log configuration says where the log goes.
const LOG_PLACE: [&str; 4] = ["awslogs-group", "awslogs-region", "awslogs-create-group", "awslogs-endpoint"];

/// What the sidecar is to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    /// Its image; that which is there if not given.
    pub(super) image: Option<String>,
    /// Whether the tasks run on Fargate, where the definition does not say so itself.
    pub(super) fargate: bool,
    pub(super) managed_instance_role: Option<String>,
    /// For a definition without one.
    pub(super) task_role: Option<String>,
}

/// Why no sidecar can have faults in tasks of this definition, whatever is put into it.
///
/// # Errors
/// The reason, with what to do.
pub(super) fn refusal(definition: &Mapping) -> Result<(), String> {
    let family =
        object(definition, "runtimePlatform").and_then(|platform| text(platform, "operatingSystemFamily"));
    if let Some(windows) = family.filter(|family| family.starts_with("WINDOWS")) {
        return Err(format!("operatingSystemFamily is {windows}: taskfault runs on Linux only"));
    }
    match text(definition, "networkMode") {
        Some("awsvpc" | "host") => {}
        Some("none") => {
            return Err(
                "networkMode is none: without a network the sidecar cannot reach Systems Manager; use \
                        awsvpc"
                    .to_owned(),
            );
        }
        mode => {
            let what = mode.map_or("there is no networkMode, which means bridge".to_owned(), |mode| {
                format!("networkMode is {mode}")
            });
            return Err(format!(
                "{what}: each container then has a network of its own, so network faults of the sidecar would \
                 hit the sidecar alone, and FIS refuses its network actions; use awsvpc"
            ));
        }
    }
    match text(definition, "pidMode") {
        None | Some("task") => Ok(()),
        Some(mode) => Err(format!(
            "pidMode is {mode}: the sidecar would see the processes of the whole instance, and kill-process would \
             kill those of other tasks; use task"
        )),
    }
}

/// Whether the tasks of a definition may run on Fargate.
pub(super) fn is_for_fargate(definition: &Mapping) -> bool {
    texts(definition, "requiresCompatibilities").any(|it| it == "FARGATE")
}

/// Puts the sidecar in, or brings it up to date; gives what there is to say. Doing it again changes nothing.
///
/// # Errors
/// Why it cannot be put in; the definition is then half changed and must not be used.
pub(super) fn add(definition: &mut Mapping, wanted: &Wanted) -> Result<Vec<String>, String> {
    refusal(definition)?;
    refuse_another(definition)?;
    let example = Example::read()?;
    let mut added = Vec::new();
    if wanted.fargate {
        mean_fargate(definition, &mut added)?;
    }
    let mut notes = Vec::new();
    let fargate = is_for_fargate(definition);
    let at = list(definition, "containerDefinitions")
        .and_then(|all| all.iter().position(|it| is_called(it, NAME)));
    let before = at.and_then(|at| definition.get("containerDefinitions")?.get(at)?.as_mapping()).cloned();
    let image = image(before.as_ref(), wanted)?;
    let is_new = before.is_none();
    let mut container = match before {
        Some(container) => complete(container, &example),
        None => {
            refuse_its_volumes(definition, &example)?;
            fresh(definition, &example, &mut notes)?
        }
    };
    set(&mut container, "image", image);
    set_role(&mut container, wanted)?;
    set_net_admin(&mut container, !fargate)?;
    set_task_members(definition, wanted, &mut added);
    add_volumes(definition, &container, &example, &mut added)?;
    if is_new && !added.is_empty() {
        set(object_mut(&mut container, "dockerLabels")?, ADDED_LABEL, added.join(" "));
    } else if !added.is_empty() {
        let labels = object_mut(&mut container, "dockerLabels")?;
        let so_far = text(labels, ADDED_LABEL).map(|so_far| format!("{so_far} ")).unwrap_or_default();
        set(labels, ADDED_LABEL, so_far + &added.join(" "));
    }
    let containers = list_mut(definition, "containerDefinitions")?;
    match at {
        Some(at) => containers[at] = Value::Mapping(container),
        None => containers.push(Value::Mapping(container)),
    }
    Ok(notes)
}

/// Takes the sidecar out, with its volumes, and gives the task's members back what they were.
///
/// # Errors
/// There is none, or it is the only container.
pub(super) fn remove(definition: &mut Mapping) -> Result<Vec<String>, String> {
    let example = Example::read()?;
    let containers = list_mut(definition, "containerDefinitions")?;
    let at = containers.iter().position(|it| is_called(it, NAME));
    let at = at.ok_or_else(|| format!("there is no container {NAME} to take out"))?;
    if containers.len() == 1 {
        return Err(format!("{NAME} is the only container"));
    }
    let sidecar = containers.remove(at).as_mapping().cloned().unwrap_or_default();
    if let Some(waits) = waits_for_it(definition) {
        return Err(format!("container {waits} dependsOn {NAME}; take that out first"));
    }
    let mut notes = Vec::new();
    let label = object(&sidecar, "dockerLabels").and_then(|labels| text(labels, ADDED_LABEL));
    let added: Vec<&str> = label.unwrap_or_default().split_whitespace().collect();
    remove_volumes(definition, &example, added.contains(&"volumes"))?;
    for member in &added {
        match member.split_once('=') {
            Some((name, _)) => set(definition, name, false),
            None if *member != "volumes" => drop(definition.shift_remove(*member)),
            None => {}
        }
    }
    if label.is_none() {
        notes.push(format!(
            "the sidecar has no label {ADDED_LABEL}, so pidMode and enableFaultInjection stay as they are"
        ));
    }
    Ok(notes)
}

/// Another container with our image, under a name of its own: two sidecars would register one task.
fn refuse_another(definition: &Mapping) -> Result<(), String> {
    for container in objects(definition, "containerDefinitions") {
        let (name, image) =
            (text(container, "name").unwrap_or_default(), text(container, "image").unwrap_or_default());
        if name != NAME && repository(image).rsplit('/').next() == Some(NAME) {
            return Err(format!(
                "container {name} runs {image} already: call it {NAME}, and it is brought up to date"
            ));
        }
    }
    Ok(())
}

/// Volumes of somebody else that are called like the sidecar's: what one keeps there the other would find.
fn refuse_its_volumes(definition: &Mapping, example: &Example) -> Result<(), String> {
    match list(definition, "volumes").and_then(|all| all.iter().find(|it| example.brings(it))) {
        Some(_) => Err(format!(
            "the task has a volume {NAME} already, and the sidecar keeps its state in one of that name: call yours \
             otherwise"
        )),
        None => Ok(()),
    }
}

fn waits_for_it(definition: &Mapping) -> Option<&str> {
    let waits = |it: &&Mapping| objects(it, "dependsOn").any(|on| text(on, "containerName") == Some(NAME));
    objects(definition, "containerDefinitions").find(waits).and_then(|it| text(it, "name"))
}

/// `requiresCompatibilities` of a definition whose tasks run on Fargate.
fn mean_fargate(definition: &mut Mapping, added: &mut Vec<String>) -> Result<(), String> {
    if is_for_fargate(definition) {
        return Ok(());
    }
    if list(definition, "requiresCompatibilities").is_some_and(|all| !all.is_empty()) {
        let said: Vec<&str> = texts(definition, "requiresCompatibilities").collect();
        return Err(format!(
            "--fargate, but requiresCompatibilities is {}; change it first",
            said.join(", ")
        ));
    }
    // An empty list, as describe gives it, goes back to nothing; ECS reads both alike.
    set(definition, "requiresCompatibilities", vec![Value::from("FARGATE")]);
    added.push("requiresCompatibilities".to_owned());
    Ok(())
}

/// The image without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// The image to run: the one that is asked for, or the one that is there.
fn image(before: Option<&Mapping>, wanted: &Wanted) -> Result<String, String> {
    let there = before.and_then(|container| text(container, "image"));
    let is_ours = |image: &str| match &wanted.image {
        Some(asked) => repository(image) == repository(asked),
        None => repository(image).rsplit('/').next() == Some(NAME) || before.is_some_and(is_labelled),
    };
    match (there, &wanted.image) {
        (Some(image), _) if !is_ours(image) => Err(format!(
            "a container {NAME} with another image ({image}) is there already: take it out, or call it otherwise"
        )),
        (_, Some(asked)) if asked.is_empty() || asked.contains(char::is_whitespace) => {
            Err(format!("--image {asked:?} is no name of an image"))
        }
        (_, Some(asked)) => Ok(asked.clone()),
        (Some(image), None) => Ok(image.to_owned()),
        (None, None) => Err(
            "say where your registry has the sidecar: --image REGISTRY/taskfault:TAG (make image builds it)"
                .to_owned(),
        ),
    }
}

fn is_labelled(container: &Mapping) -> bool {
    object(container, "dockerLabels").is_some_and(|labels| labels.contains_key(ADDED_LABEL))
}

/// A sidecar that is there, with what the example has and it has not.
fn complete(mut container: Mapping, example: &Example) -> Mapping {
    // Where the log goes and what it weighs is the user's, also where that is nothing.
    const LEFT_ALONE: [&str; 4] = ["cpu", "memoryReservation", "logConfiguration", "linuxParameters"];
    // A read-only root and the volume for what has to be written, the one never without the other. Who has decided on
    // either has decided on both.
    const DISK: [&str; 2] = ["readonlyRootFilesystem", "mountPoints"];
    let is_decided =
        mounted(&container).next().is_some() || value(&container, "readonlyRootFilesystem").is_some();
    for (name, to) in &example.container {
        let name = name.as_str().unwrap_or_default();
        if DISK.contains(&name) {
            if !is_decided {
                // ECS shows an empty list of mounts where none was given.
                set(&mut container, name, to.clone());
            }
        } else if !LEFT_ALONE.contains(&name) {
            set_missing(&mut container, name, to.clone());
        }
    }
    container
}

/// A new sidecar that fits into the task and logs where the application does.
fn fresh(definition: &Mapping, example: &Example, notes: &mut Vec<String>) -> Result<Mapping, String> {
    let mut container = example.container.clone();
    match log_place(definition) {
        Some(place) => {
            let log = object_mut(&mut container, "logConfiguration")?;
            let options = object_mut(log, "options")?;
            LOG_PLACE.iter().for_each(|name| drop(options.shift_remove(*name)));
            for (name, value) in place {
                set(options, &name, value);
            }
        }
        None => {
            container.shift_remove("logConfiguration");
            notes
                .push("no container has the log driver awslogs, so the sidecar has no log either".to_owned());
        }
    }
    fit(&mut container, definition, notes);
    Ok(container)
}

/// The options of the first `awslogs` configuration that say where the log goes.
fn log_place(definition: &Mapping) -> Option<Vec<(String, Value)>> {
    let logs = objects(definition, "containerDefinitions").filter_map(|it| object(it, "logConfiguration"));
    let mut awslogs = logs.filter(|log| text(log, "logDriver") == Some("awslogs"));
    let options = object(awslogs.next()?, "options")?;
    let named = |name: &&str| Some(((*name).to_owned(), value(options, name)?.clone()));
    Some(LOG_PLACE.iter().filter_map(named).collect())
}

/// Takes no more CPU and memory than the task has left: ECS refuses containers that add up to more.
fn fit(container: &mut Mapping, definition: &Mapping, notes: &mut Vec<String>) {
    let number = |it: &Mapping, name: &str| value(it, name).and_then(Value::as_u64);
    let containers = || objects(definition, "containerDefinitions");
    let task = request::size(definition);
    if let (Some(all), Some(asked)) = (task.cpu_units, number(container, "cpu")) {
        let left = all.saturating_sub(containers().filter_map(|it| number(it, "cpu")).sum());
        if left < asked {
            set(container, "cpu", left);
            notes.push(format!(
                "the task has {left} CPU units left for the sidecar; beside a busy application a CPU stress \
                 gets little with fewer than {asked}"
            ));
        }
    }
    if let (Some(all), Some(asked)) = (task.memory_mib, number(container, "memoryReservation")) {
        let taken = |it: &Mapping| number(it, "memoryReservation").or(number(it, "memory"));
        let left = all.saturating_sub(containers().filter_map(taken).sum());
        if left < LEAST_MEMORY {
            container.shift_remove("memoryReservation");
        } else if left < asked {
            set(container, "memoryReservation", left);
        }
    }
}

fn set_role(container: &mut Mapping, wanted: &Wanted) -> Result<(), String> {
    let example = Example::read()?;
    let default =
        objects(&example.container, "environment").find(|it| text(it, "name") == Some(ROLE_VARIABLE));
    let default = default.and_then(|it| text(it, "value")).unwrap_or_default();
    let variables = list_mut(container, "environment")?;
    let there = variables.iter_mut().find(|it| is_called(it, ROLE_VARIABLE)).and_then(Value::as_mapping_mut);
    match (there, &wanted.managed_instance_role) {
        (Some(variable), Some(role)) => set(variable, "value", role.clone()),
        (Some(_), None) => {}
        (None, role) => {
            let mut variable = Mapping::new();
            set(&mut variable, "name", ROLE_VARIABLE);
            set(&mut variable, "value", role.as_deref().unwrap_or(default));
            variables.push(Value::Mapping(variable));
        }
    }
    Ok(())
}

/// With the capability for network faults, or without: Fargate refuses it.
fn set_net_admin(container: &mut Mapping, has: bool) -> Result<(), String> {
    if has {
        let linux = object_mut(container, "linuxParameters")?;
        let added = list_mut(object_mut(linux, "capabilities")?, "add")?;
        if !added.iter().any(|it| it.as_str() == Some(NET_ADMIN)) {
            added.push(NET_ADMIN.into());
        }
        return Ok(());
    }
    if object(container, "linuxParameters").is_none() {
        return Ok(());
    }
    let linux = object_mut(container, "linuxParameters")?;
    if object(linux, "capabilities").is_some() {
        let capabilities = object_mut(linux, "capabilities")?;
        if list(capabilities, "add").is_some() {
            let added = list_mut(capabilities, "add")?;
            added.retain(|it| it.as_str() == Some(ON_FARGATE));
            if added.is_empty() {
                capabilities.shift_remove("add");
            }
        }
        if capabilities.is_empty() {
            linux.shift_remove("capabilities");
        }
    }
    if linux.is_empty() {
        container.shift_remove("linuxParameters");
    }
    Ok(())
}

fn set_task_members(definition: &mut Mapping, wanted: &Wanted, added: &mut Vec<String>) {
    if text(definition, "pidMode").is_none() {
        set(definition, "pidMode", "task");
        added.push("pidMode".to_owned());
    }
    match value(definition, "enableFaultInjection").and_then(Value::as_bool) {
        Some(true) => {}
        there => {
            set(definition, "enableFaultInjection", true);
            let was =
                if there == Some(false) { "enableFaultInjection=false" } else { "enableFaultInjection" };
            added.push(was.to_owned());
        }
    }
    if let (None, Some(role)) = (text(definition, "taskRoleArn"), &wanted.task_role) {
        set(definition, "taskRoleArn", role.clone());
        added.push("taskRoleArn".to_owned());
    }
}

/// The volumes that the sidecar mounts.
fn add_volumes(
    definition: &mut Mapping,
    container: &Mapping,
    example: &Example,
    added: &mut Vec<String>,
) -> Result<(), String> {
    let mounts: Vec<&str> = mounted(container).collect();
    let wanted =
        example.volumes.iter().filter(|it| text(it, "name").is_some_and(|name| mounts.contains(&name)));
    for volume in wanted {
        if value(definition, "volumes").is_none() {
            added.push("volumes".to_owned());
        }
        let volumes = list_mut(definition, "volumes")?;
        if !volumes.iter().any(|it| text(volume, "name").is_some_and(|name| is_called(it, name))) {
            volumes.push(Value::Mapping(volume.clone()));
        }
    }
    Ok(())
}

/// The volumes that the sidecar brought along and that nobody else mounts.
fn remove_volumes(definition: &mut Mapping, example: &Example, list_was_added: bool) -> Result<(), String> {
    if value(definition, "volumes").is_none() {
        return Ok(());
    }
    let others: Vec<String> =
        objects(definition, "containerDefinitions").flat_map(mounted).map(str::to_owned).collect();
    let volumes = list_mut(definition, "volumes")?;
    volumes.retain(|it| !example.brings(it) || others.iter().any(|name| is_called(it, name)));
    if volumes.is_empty() && list_was_added {
        definition.shift_remove("volumes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::check;
    use super::super::source::Source;
    use super::*;

    const IMAGE: &str = "1.dkr.ecr.eu-west-1.amazonaws.com/taskfault:0.1.0";

    fn wanted() -> Wanted {
        Wanted { image: Some(IMAGE.to_owned()), ..Wanted::default() }
    }

    fn definition(more: serde_json::Value) -> Mapping {
        let mut whole = json!({
            "family": "web", "networkMode": "awsvpc", "taskRoleArn": "arn:aws:iam::1:role/web", "cpu": "512",
            "memory": "512",
            "containerDefinitions": [{ "name": "app", "image": "app", "cpu": 256, "memoryReservation": 128 }],
        });
        for (name, value) in more.as_object().unwrap() {
            whole[name] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn added(more: serde_json::Value, wanted: &Wanted) -> Mapping {
        let mut definition = definition(more);
        add(&mut definition, wanted).unwrap();
        definition
    }

    fn sidecar(definition: &Mapping) -> &Mapping {
        objects(definition, "containerDefinitions").find(|it| text(it, "name") == Some(NAME)).unwrap()
    }

    fn capabilities(definition: &Mapping) -> Vec<String> {
        let linux = object(sidecar(definition), "linuxParameters");
        let capabilities = linux.and_then(|linux| object(linux, "capabilities"));
        capabilities.map(|it| texts(it, "add").map(str::to_owned).collect()).unwrap_or_default()
    }

    #[test]
    fn the_sidecar_comes_in_and_works() {
        let definition = added(json!({}), &wanted());
        assert_eq!(text(sidecar(&definition), "image"), Some(IMAGE));
        assert_eq!(text(&definition, "pidMode"), Some("task"));
        assert_eq!(definition["enableFaultInjection"], Value::Bool(true));
        assert!(capabilities(&definition).contains(&NET_ADMIN.to_owned()));
        request::registers(&definition).unwrap();
        let broken: Vec<_> = check::findings(&definition).into_iter().filter(|it| !it.is_warning()).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }

    #[test]
    fn fargate_has_no_net_admin() {
        let said = added(json!({ "requiresCompatibilities": ["FARGATE"] }), &wanted());
        let asked = added(json!({}), &Wanted { fargate: true, ..wanted() });
        for definition in [said, asked] {
            assert!(!capabilities(&definition).contains(&NET_ADMIN.to_owned()));
            assert!(is_for_fargate(&definition));
        }
        let mut ec2 = definition(json!({ "requiresCompatibilities": ["EC2"] }));
        assert!(add(&mut ec2, &Wanted { fargate: true, ..wanted() }).unwrap_err().contains("EC2"));
    }

    #[test]
    fn it_takes_what_the_task_has_left() {
        let containers = json!([{ "name": "app", "image": "app", "cpu": 500, "memory": 480 }]);
        let definition = added(json!({ "containerDefinitions": containers }), &wanted());
        let number = |name: &str| sidecar(&definition)[name].as_u64();
        assert_eq!((number("cpu"), number("memoryReservation")), (Some(12), Some(32)));
        let containers = json!([{ "name": "app", "image": "app", "cpu": 512, "memory": 512 }]);
        let full = added(json!({ "containerDefinitions": containers }), &wanted());
        assert_eq!(sidecar(&full)["cpu"].as_u64(), Some(0));
        assert!(!sidecar(&full).contains_key("memoryReservation"));
    }

    #[test]
    fn it_logs_where_the_application_does() {
        let log = json!({ "logDriver": "awslogs", "options": {
            "awslogs-group": "/web", "awslogs-region": "eu-west-1", "awslogs-multiline-pattern": "^x" } });
        let containers = json!([{ "name": "app", "image": "app", "memory": 64, "logConfiguration": log }]);
        let definition = added(json!({ "containerDefinitions": containers }), &wanted());
        let log =
            object(sidecar(&definition), "logConfiguration").and_then(|log| object(log, "options")).unwrap();
        assert_eq!(text(log, "awslogs-group"), Some("/web"));
        assert_eq!(text(log, "awslogs-region"), Some("eu-west-1"));
        assert_eq!(
            (text(log, "mode"), log.contains_key("awslogs-multiline-pattern")),
            (Some("non-blocking"), false)
        );
        assert!(!sidecar(&added(json!({}), &wanted())).contains_key("logConfiguration"));
    }

    #[test]
    fn what_the_user_changed_stays_and_a_new_version_comes_in() {
        let mut definition = added(json!({}), &wanted());
        let containers = list_mut(&mut definition, "containerDefinitions").unwrap();
        let sidecar_of_user = containers[1].as_mapping_mut().unwrap();
        set(sidecar_of_user, "essential", false);
        set(sidecar_of_user, "cpu", 7);
        let newer = Wanted {
            image: Some(IMAGE.replace("0.1.0", "0.2.0")),
            managed_instance_role: Some("other".to_owned()),
            ..Wanted::default()
        };
        add(&mut definition, &newer).unwrap();
        let sidecar = sidecar(&definition);
        assert_eq!(text(sidecar, "image"), newer.image.as_deref());
        assert_eq!((&sidecar["essential"], sidecar["cpu"].as_u64()), (&Value::Bool(false), Some(7)));
        let roles: Vec<_> =
            objects(sidecar, "environment").filter(|it| text(it, "name") == Some(ROLE_VARIABLE)).collect();
        assert_eq!(roles.iter().map(|it| text(it, "value")).collect::<Vec<_>>(), [Some("other")]);
    }

    /// A definition whose sidecar has these members, brought up to date.
    fn brought_up_to_date(more: serde_json::Value) -> Mapping {
        let mut sidecar = json!({ "name": "taskfault", "image": IMAGE });
        for (name, value) in more.as_object().unwrap() {
            sidecar[name] = value.clone();
        }
        let app = json!({ "name": "app", "image": "app", "cpu": 256, "memoryReservation": 128 });
        added(json!({ "containerDefinitions": [app, sidecar], "volumes": [{ "name": "mine" }] }), &wanted())
    }

    #[test]
    fn a_read_only_root_comes_with_its_volume_or_not_at_all() {
        let volumes = |definition: &Mapping| -> Vec<String> {
            objects(definition, "volumes").filter_map(|it| text(it, "name")).map(str::to_owned).collect()
        };
        // As describe shows a sidecar that said nothing of mounts.
        let nothing_said = brought_up_to_date(json!({ "mountPoints": [], "user": "0:0" }));
        assert_eq!(sidecar(&nothing_said)["readonlyRootFilesystem"], Value::Bool(true));
        assert_eq!(mounted(sidecar(&nothing_said)).collect::<Vec<_>>(), ["taskfault"]);
        assert_eq!(text(sidecar(&nothing_said), "user"), Some("0:0"));
        assert_eq!(volumes(&nothing_said), ["mine", "taskfault"]);
        let mount = json!([{ "sourceVolume": "mine", "containerPath": "/state" }]);
        for own in [json!({ "mountPoints": mount }), json!({ "readonlyRootFilesystem": false })] {
            let of_user = brought_up_to_date(own.clone());
            for (name, value) in own.as_object().unwrap() {
                assert_eq!(serde_json::to_value(&sidecar(&of_user)[name.as_str()]).unwrap(), *value);
            }
            assert!(
                !sidecar(&of_user).contains_key("readonlyRootFilesystem") || own.get("mountPoints").is_none()
            );
            assert_eq!(volumes(&of_user), ["mine"]);
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_why() {
        let with = |more: serde_json::Value| add(&mut definition(more), &wanted()).unwrap_err();
        assert!(with(json!({ "networkMode": "bridge" })).contains("a network of its own"));
        assert!(with(json!({ "networkMode": null })).contains("which means bridge"));
        assert!(with(json!({ "networkMode": "none" })).contains("without a network"));
        assert!(with(json!({ "pidMode": "host" })).contains("whole instance"));
        let windows = json!({ "runtimePlatform": { "operatingSystemFamily": "WINDOWS_SERVER_2022_CORE" } });
        assert!(with(windows).contains("Linux"));
        let other = json!([{ "name": "taskfault", "image": "redis:7", "memory": 64 }]);
        assert!(with(json!({ "containerDefinitions": other })).contains("another image (redis:7)"));
        let twice = json!([{ "name": "chaos", "image": IMAGE, "memory": 64 }]);
        assert!(with(json!({ "containerDefinitions": twice })).contains("container chaos runs"));
        assert!(with(json!({ "volumes": [{ "name": "taskfault" }] })).contains("a volume taskfault already"));
        let without_image = add(&mut definition(json!({})), &Wanted::default()).unwrap_err();
        assert!(without_image.contains("--image"), "{without_image}");
    }

    #[test]
    fn images_are_the_same_whatever_their_tag() {
        for (image, name) in [
            ("taskfault", "taskfault"),
            ("r:5000/x/taskfault:1@sha256:00", "r:5000/x/taskfault"),
            ("r:5000/taskfault", "r:5000/taskfault"),
        ] {
            assert_eq!(repository(image), name);
        }
    }

    #[test]
    fn what_somebody_waits_for_is_not_taken_out() {
        let mut definition = added(json!({}), &wanted());
        let containers = list_mut(&mut definition, "containerDefinitions").unwrap();
        let waits: Value =
            serde_json::from_value(json!([{ "containerName": "taskfault", "condition": "HEALTHY" }]))
                .unwrap();
        set(containers[0].as_mapping_mut().unwrap(), "dependsOn", waits);
        assert!(remove(&mut definition).unwrap_err().contains("container app dependsOn taskfault"));
        assert!(
            remove(&mut super::tests::definition(json!({}))).unwrap_err().contains("no container taskfault")
        );
    }

    /// Anything that a definition may have beside its containers, known or not.
    fn anything() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i32>().prop_map(serde_json::Value::from),
            "[ -~]{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[a-z]{1,6}", inner, 0..3)
                    .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn task_members() -> impl Strategy<Value = Vec<(&'static str, serde_json::Value)>> {
        let choice = |name: &'static str, values: Vec<serde_json::Value>| {
            proptest::option::of(proptest::sample::select(values))
                .prop_map(move |value| value.map(|it| (name, it)))
        };
        let all = (
            choice("pidMode", vec![json!("task")]),
            choice("enableFaultInjection", vec![json!(true), json!(false)]),
            choice(
                "requiresCompatibilities",
                vec![json!(["FARGATE"]), json!(["EC2"]), json!(["EC2", "FARGATE"])],
            ),
            choice("volumes", vec![json!([]), json!([{ "name": "data" }])]),
            choice("taskRoleArn", vec![json!("arn:aws:iam::1:role/app")]),
        );
        all.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect())
    }

    proptest! {
        #[test]
        fn twice_is_once_and_taking_it_out_gives_back_what_was_there(
            members in task_members(),
            unknown in proptest::collection::btree_map("x[a-z]{1,5}", anything(), 0..4),
            task_role in proptest::option::of(Just("arn:aws:iam::1:role/x".to_owned())),
        ) {
            let mut before = json!({ "networkMode": "awsvpc", "family": "web" });
            for (name, value) in &members {
                before[name] = value.clone();
            }
            for (name, value) in unknown {
                before[name] = value;
            }
            before["containerDefinitions"] = json!([{ "name": "app", "image": "app", "memory": 64, "zz": 1 }]);
            before["cpu"] = json!("256");
            let before = Source::read(&before.to_string()).unwrap();
            let wanted = Wanted { task_role, ..wanted() };
            let mut once = before.clone();
            add(once.definition_mut(), &wanted).unwrap();
            let mut twice = once.clone();
            add(twice.definition_mut(), &wanted).unwrap();
            prop_assert_eq!(once.write().unwrap(), twice.write().unwrap());
            let mut out = twice;
            remove(out.definition_mut()).unwrap();
            prop_assert_eq!(out.write().unwrap(), before.write().unwrap());
        }
    }
}
