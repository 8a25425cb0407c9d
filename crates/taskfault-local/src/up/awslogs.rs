//! The log driver `awslogs`: what containers write goes to the log groups of the local CloudWatch Logs.
//!
//! A container writes to its own log file, which this reads after it: however slow that is, the application never
//! waits. So it is like the driver's mode `non-blocking`, with the file as its buffer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_local::Handle;
use aws_local::ecs::{ContainerDefinition, docker_id};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at the logs.
const LOOK: Duration = Duration::from_millis(250);
/// So much is read of one log at a look: a container that writes more than 4 MiB a second is behind for a while.
const MOST_BYTES: u64 = 1024 * 1024;
/// The longest event of CloudWatch Logs is 256 KiB less 26 bytes; longer lines come in parts.
const LONGEST: usize = 262_144 - 26;

/// The driver's name in `logDriver`.
const DRIVER: &str = "awslogs";
/// Options that are left out here.
const LEFT_OUT: [&str; 2] = ["awslogs-datetime-format", "awslogs-multiline-pattern"];

/// Where the lines of a container go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub region: String,
    pub group: String,
    pub stream: String,
    /// `awslogs-create-group`.
    pub create: bool,
}

impl Destination {
    /// Of a container; None if it has another log driver, or none. `task` and `family` name its task.
    ///
    /// # Errors
    /// The driver's options lack the group.
    pub(super) fn of(
        container: &ContainerDefinition,
        (arn, task): (&str, &str),
        region: &str,
    ) -> Result<Option<Destination>, String> {
        let logs = container.log_configuration.as_ref().filter(|logs| logs.log_driver == DRIVER);
        let Some(logs) = logs else { return Ok(None) };
        let option = |name: &str| logs.options.get(name).map(String::as_str);
        let group = option("awslogs-group").ok_or_else(|| {
            format!("container {}: the log driver awslogs needs the option awslogs-group", container.name)
        })?;
        let stream = match option("awslogs-stream-prefix") {
            Some(prefix) => format!("{prefix}/{}/{task}", container.name),
            None => docker_id(arn, &container.name),
        };
        Ok(Some(Destination {
            region: option("awslogs-region").unwrap_or(region).to_owned(),
            group: group.to_owned(),
            stream,
            create: option("awslogs-create-group") == Some("true"),
        }))
    }

    /// Makes sure that the group is there, as the driver does when the container starts.
    ///
    /// # Errors
    /// It is not, and is not to be made.
    pub(super) fn open(&self, handle: &Handle) -> Result<(), String> {
        match handle.log_group(&self.region, &self.group, self.create) {
            true => Ok(()),
            false => Err(format!(
                "failed to initialize logging driver: failed to create Cloudwatch log stream: \
                 ResourceNotFoundException: The specified log group does not exist. ({} in {}; \
                 aws logs create-log-group makes it, or the option awslogs-create-group)",
                self.group, self.region
            )),
        }
    }
}

/// What a user should know of a container's log configuration.
pub(super) fn note(container: &ContainerDefinition) -> Option<String> {
    let logs = container.log_configuration.as_ref()?;
    let name = &container.name;
    if logs.log_driver != DRIVER {
        return Some(format!(
            "container {name}: log driver {} is not played; its lines are in its log",
            logs.log_driver
        ));
    }
    let left_out: Vec<&str> =
        LEFT_OUT.into_iter().filter(|option| logs.options.contains_key(*option)).collect();
    (!left_out.is_empty())
        .then(|| format!("container {name}: {} left out here; each line is an event", left_out.join(", ")))
}

/// A log that is being read.
#[derive(Debug)]
struct Followed {
    /// ARN of its task.
    task: String,
    path: PathBuf,
    file: Option<File>,
    destination: Destination,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// Nothing more will be written.
    ended: bool,
}

/// All logs that are being read.
#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<Vec<Followed>>);

impl Logs {
    /// Reads a container's log from its beginning on.
    pub(super) fn follow(&self, task: &str, path: &Path, destination: Destination) {
        self.0.lock().push(Followed {
            task: task.to_owned(),
            path: path.to_owned(),
            file: None,
            destination,
            partial: Vec::new(),
            ended: false,
        });
    }

    /// A task has ended: its logs are read to their ends.
    pub(super) fn ended(&self, task: &str) {
        self.0.lock().iter_mut().filter(|log| log.task == task).for_each(|log| log.ended = true);
    }

    /// Hands over what has been written since the last time.
    fn ship(&self, handle: &Handle) {
        self.0.lock().retain_mut(|log| {
            let (lines, more) = log.read();
            if !lines.is_empty() {
                let Destination { region, group, stream, .. } = &log.destination;
                handle.log(region, group, stream, SystemTime::now(), lines);
            }
            more || !log.ended
        });
    }

    /// Hands over what is written, again and again, until it is dropped.
    pub(super) async fn ship_forever(&self, handle: &Handle) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.ship(handle);
        }
    }
}

impl Followed {
    /// The lines that have come since the last time, and whether there are more.
    fn read(&mut self) -> (Vec<String>, bool) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return (Vec::new(), false) };
        // A log that cannot be read has no more lines.
        let count = file.take(MOST_BYTES).read_to_end(&mut self.partial).unwrap_or(0);
        let mut lines = take_lines(&mut self.partial);
        if count == 0 && self.ended {
            lines.push(std::mem::take(&mut self.partial));
        }
        let told = lines.into_iter().filter(|line| !line.is_empty());
        (told.map(|line| String::from_utf8_lossy(&line).into_owned()).collect(), count > 0)
    }
}

/// Takes the whole lines out; of one that is too long as much as an event holds.
fn take_lines(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let (mut lines, mut taken) = (Vec::new(), 0);
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        let end = rest.iter().take(LONGEST).position(|byte| *byte == b'\n');
        let (length, skipped) = match end {
            Some(end) => (end, 1),
            None if rest.len() >= LONGEST => (LONGEST, 0),
            None => break,
        };
        lines.push(rest.get(..length).unwrap_or_default().to_vec());
        taken += length + skipped;
    }
    bytes.drain(..taken);
    lines
}

/// The groups of some destinations, each once, with whether the driver makes it.
pub(super) fn groups(destinations: impl Iterator<Item = Destination>) -> BTreeMap<(String, String), bool> {
    destinations.map(|it| ((it.region, it.group), it.create)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn container(options: serde_json::Value) -> ContainerDefinition {
        let logs = json!({ "logDriver": "awslogs", "options": options });
        serde_json::from_value(json!({ "name": "app", "logConfiguration": logs })).unwrap()
    }

    fn destination(options: serde_json::Value) -> Result<Option<Destination>, String> {
        Destination::of(&container(options), ("arn:aws:ecs:r:a:task/c/1", "1"), "us-east-1")
    }

    #[test]
    fn options_say_where_lines_go() {
        let options = json!({
            "awslogs-group": "/ecs/app", "awslogs-region": "us-west-2", "awslogs-stream-prefix": "p",
            "awslogs-create-group": "true",
        });
        let expected = Destination {
            region: "us-west-2".into(),
            group: "/ecs/app".into(),
            stream: "p/app/1".into(),
            create: true,
        };
        assert_eq!(destination(options), Ok(Some(expected)));
        let plain = destination(json!({ "awslogs-group": "g" })).unwrap().unwrap();
        assert_eq!((plain.region.as_str(), plain.create), ("us-east-1", false));
        assert_eq!(plain.stream, docker_id("arn:aws:ecs:r:a:task/c/1", "app"));
        assert!(destination(json!({})).unwrap_err().contains("awslogs-group"));
        let other = json!({ "name": "app", "logConfiguration": { "logDriver": "json-file" } });
        let other: ContainerDefinition = serde_json::from_value(other).unwrap();
        assert_eq!(Destination::of(&other, ("a", "1"), "r"), Ok(None));
        assert!(note(&other).unwrap().contains("json-file is not played"));
    }

    #[test]
    fn lines_come_whole_and_the_rest_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut log = Followed {
            task: "t".into(),
            path: path.clone(),
            file: None,
            destination: destination(json!({ "awslogs-group": "g" })).unwrap().unwrap(),
            partial: Vec::new(),
            ended: false,
        };
        assert_eq!(log.read(), (vec![], false), "it is not there yet");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\n\ntw").unwrap();
        assert_eq!(log.read(), (vec!["one".to_owned()], true));
        file.write_all(b"o\nrest").unwrap();
        assert_eq!(log.read(), (vec!["two".to_owned()], true));
        file.write_all(&vec![b'x'; LONGEST]).unwrap();
        let (lines, _) = log.read();
        assert_eq!((lines.len(), lines[0].len()), (1, LONGEST), "a line that is too long comes in parts");
        log.ended = true;
        assert_eq!(log.read(), (vec!["xxxx".to_owned()], false));
    }
}
