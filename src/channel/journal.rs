//! What must survive `kill -9`: the jobs that were taken, and the replies that the service has not acknowledged.
//!
//! `<state-dir>/commands.jsonl`, a JSON value on each line, only ever added to. A line is written before what it says
//! is told to the service: that a job is taken before the acknowledgement, a reply before it is sent. So the next life
//! knows every job that the service counts as ours: it answers those that have no last reply, repeats the replies that
//! may not have arrived, and takes no job a second time. It is for the same instance only.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use effects::state_folder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reply::Reply;
use super::{JOB_MEMORY, Origin, now_ms};
use ssm_wire::job::{JobId, Topic};

/// The file in the state folder.
pub const FILE: &str = "commands.jsonl";

/// From this size on the file is written anew without what nobody needs any more.
const COMPACT_BYTES: u64 = 1024 * 1024;

/// More than this is no file of ours.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first: whose jobs these are.
    Instance(String),
    /// A job was taken, at a time in epoch milliseconds.
    Taken { job: String, at: u64 },
    /// A job has had its last reply: in the place of that reply, where the file is written anew.
    Answered(String),
    /// The service did not give it to us.
    Withdrawn(String),
    /// A reply was made.
    Reply(ReplyLine),
    /// The service has the reply, or it was given up.
    Acknowledged(Uuid),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ReplyLine {
    id: Uuid,
    job: String,
    topic: String,
    content: String,
    polled: bool,
    last: bool,
}

impl ReplyLine {
    fn of(reply: &Reply) -> ReplyLine {
        ReplyLine {
            id: reply.id,
            job: reply.job.to_string(),
            topic: reply.topic.as_str().to_owned(),
            content: reply.content.clone(),
            polled: reply.origin == Origin::Poll,
            last: reply.last,
        }
    }

    fn reply(self) -> Option<Reply> {
        Some(Reply {
            id: self.id,
            job: JobId::try_from(self.job).ok()?,
            topic: Topic::of(&self.topic)?,
            content: self.content,
            origin: if self.polled { Origin::Poll } else { Origin::Gateway },
            last: self.last,
        })
    }
}

/// What an earlier life of the same instance left.
#[derive(Debug, Default)]
pub struct LeftOver {
    /// Jobs that it had taken, and how long ago; none is to be taken again.
    pub taken: Vec<(JobId, Duration)>,
    /// Those of them that have had no last reply.
    pub unanswered: Vec<JobId>,
    /// Replies that the service may not have.
    pub replies: Vec<Reply>,
}

/// What the lines of a file come to.
#[derive(Debug, Default)]
struct Contents {
    instance: String,
    taken: HashMap<String, Taken>,
    /// In the order in which they were made.
    replies: Vec<ReplyLine>,
}

/// A job that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// When, in epoch milliseconds.
    at: u64,
    /// Whether it has had its last reply.
    answered: bool,
}

impl Contents {
    /// Reads `file` line by line: it may be far larger than what it comes to.
    fn of(file: impl BufRead) -> io::Result<Contents> {
        let mut contents = Contents::default();
        for line in file.split(b'\n') {
            // The last line of a life that was killed may be half there.
            if let Ok(line) = serde_json::from_slice(&line?) {
                contents.add(line);
            }
        }
        Ok(contents)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Instance(instance) => *self = Contents { instance, ..Contents::default() },
            Line::Taken { job, at } => {
                self.taken.insert(job, Taken { at, answered: false });
            }
            // It is no job of ours any more.
            Line::Withdrawn(job) => {
                self.taken.remove(&job);
            }
            Line::Answered(job) => self.answered(&job),
            Line::Reply(reply) => {
                if reply.last {
                    self.answered(&reply.job);
                }
                self.replies.push(reply);
            }
            Line::Acknowledged(id) => self.replies.retain(|reply| reply.id != id),
        }
    }

    fn answered(&mut self, job: &str) {
        if let Some(taken) = self.taken.get_mut(job) {
            taken.answered = true;
        }
    }

    /// Without jobs that were answered so long ago that they are not offered again.
    fn needed(mut self, now: u64) -> Contents {
        let memory = u64::try_from(JOB_MEMORY.as_millis()).unwrap_or(u64::MAX);
        self.taken.retain(|_, taken| !taken.answered || now.saturating_sub(taken.at) < memory);
        self
    }

    /// The jobs, the first that was taken first.
    fn taken(&self) -> Vec<(&str, Taken)> {
        let mut jobs: Vec<_> = self.taken.iter().map(|(job, taken)| (job.as_str(), *taken)).collect();
        jobs.sort_unstable_by_key(|(job, taken)| (taken.at, *job));
        jobs
    }

    /// Writes the lines that come to this.
    fn write(&self, file: &mut impl Write) -> io::Result<()> {
        let mut write = |line: &Line| file.write_all(&text_of(line));
        write(&Line::Instance(self.instance.clone()))?;
        for (job, Taken { at, answered }) in self.taken() {
            write(&Line::Taken { job: job.to_owned(), at })?;
            if answered {
                write(&Line::Answered(job.to_owned()))?;
            }
        }
        self.replies.iter().try_for_each(|reply| write(&Line::Reply(reply.clone())))
    }

    fn left_over(self, now: u64) -> LeftOver {
        let mut left = LeftOver::default();
        for (job, Taken { at, answered }) in self.taken() {
            let Ok(job) = JobId::try_from(job.to_owned()) else { continue };
            if !answered {
                left.unanswered.push(job.clone());
            }
            left.taken.push((job, Duration::from_millis(now.saturating_sub(at))));
        }
        left.replies = self.replies.into_iter().filter_map(ReplyLine::reply).collect();
        left
    }
}

/// The file, as the writing thread has it.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    compact_at: u64,
    /// That it cannot be written is said once.
    failed: bool,
}

impl Log {
    fn at(path: PathBuf) -> Log {
        Log { path, file: None, bytes: 0, compact_at: COMPACT_BYTES, failed: false }
    }

    /// Reads what there is for `instance`, and begins anew with that.
    fn open(&mut self, instance: &str) -> LeftOver {
        let mut contents = read(&self.path).unwrap_or_else(|error| {
            tracing::warn!(path = %self.path.display(), %error, "cannot read the commands of an earlier life");
            Contents::default()
        });
        if contents.instance != instance {
            contents = Contents { instance: instance.to_owned(), ..Contents::default() };
        }
        let contents = contents.needed(now_ms());
        if let Err(error) = self.rewrite(&contents) {
            tracing::error!(path = %self.path.display(), %error, "cannot note commands on disk");
            self.failed = true;
        }
        contents.left_over(now_ms())
    }

    fn add(&mut self, line: &Line) {
        match self.try_add(line) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::error!(
                    path = %self.path.display(), %error,
                    "cannot note commands on disk: those that run when this process is killed may run again or stay \
                     without an answer"
                );
            }
            Err(_) => {}
        }
    }

    fn try_add(&mut self, line: &Line) -> io::Result<()> {
        if self.bytes > self.compact_at {
            let rewritten = read(&self.path).and_then(|contents| self.rewrite(&contents.needed(now_ms())));
            // All jobs and replies were in memory.
            effects::heap::give_back();
            rewritten?;
        }
        let text = text_of(line);
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        // In one call: a line of a process that is killed is there or not, but for a disk that is full.
        file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Replaces the file by one with just `contents`.
    fn rewrite(&mut self, contents: &Contents) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        // Whatever stands there under this name is not ours.
        let _ = fs::remove_file(&beside);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
        let mut buffered = BufWriter::new(file);
        contents.write(&mut buffered)?;
        let file = buffered.into_inner()?;
        fs::rename(&beside, &self.path)?;
        self.bytes = file.metadata()?.len();
        self.compact_at = COMPACT_BYTES.max(2 * self.bytes);
        self.file = Some(file);
        Ok(())
    }
}

/// The line, as it stands in the file.
fn text_of(line: &Line) -> Vec<u8> {
    // Numbers and texts alone: there is nothing that JSON cannot say.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// What is in the file; nothing where there is none.
fn read(path: &Path) -> io::Result<Contents> {
    match state_folder::open(path) {
        Ok(file) => Contents::of(BufReader::new(file.take(MAX_BYTES))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
        Err(error) => Err(error),
    }
}

/// The journal of one life, as the control thread has it.
#[derive(Debug)]
pub struct Journal {
    log: Arc<Mutex<Log>>,
}

impl Journal {
    /// Reads what an earlier life left in `folder` for `instance`, and begins a journal with that. One that cannot be
    /// read or written is told in the log, and everything goes on without it. A folder that is slow is waited for, until
    /// `given_up`: what is left there has to be answered.
    pub async fn open(
        folder: &Path,
        instance: &str,
        given_up: impl Future<Output = ()>,
    ) -> (Journal, LeftOver) {
        let log = Arc::new(Mutex::new(Log::at(folder.join(FILE))));
        let (opened, instance) = (Arc::clone(&log), instance.to_owned());
        let left = tokio::select! {
            left = state_folder::patiently(move || locked(&opened).open(&instance)) => left.unwrap_or_default(),
            () = given_up => LeftOver::default(),
        };
        (Journal { log }, left)
    }

    /// A job was taken.
    pub fn taken(&self, job: &JobId) {
        self.add(Line::Taken { job: job.to_string(), at: now_ms() });
    }

    /// The service does not give it to us.
    pub fn withdrawn(&self, job: &JobId) {
        self.add(Line::Withdrawn(job.to_string()));
    }

    /// A reply was made.
    pub fn replied(&self, reply: &Reply) {
        self.add(Line::Reply(ReplyLine::of(reply)));
    }

    /// A reply is not to be sent any more.
    pub fn acknowledged(&self, id: Uuid) {
        self.add(Line::Acknowledged(id));
    }

    /// Waits until all of this is on disk, as long as [`state_folder::settled`] does.
    pub async fn settled(&self) {
        state_folder::settled().await;
    }

    fn add(&self, line: Line) {
        let log = Arc::clone(&self.log);
        state_folder::submit(move || locked(&log).add(&line));
    }
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the journal, after what is still to be written there: the instance is gone, and its commands with it.
///
/// # Errors
/// It is there and cannot be removed, or the folder does not answer.
pub async fn remove(folder: &Path) -> io::Result<()> {
    let path = folder.join(FILE);
    let remove = move || match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    state_folder::done(remove).await
}

/// Reads bytes as a journal. What is written of it anew says the same.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let again = |text: &[u8]| {
        let contents = Contents::of(text).expect("memory can be read");
        let mut written = Vec::new();
        contents.write(&mut written).expect("memory can be written");
        (contents, written)
    };
    let (contents, written) = again(bytes);
    assert_eq!(again(&written).1, written, "a journal that is written anew says the same");
    let _ = contents.needed(now_ms()).left_over(now_ms());
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "mi-0123456789abcdef0";

    fn job(n: u32) -> JobId {
        JobId::try_from(format!("aws.ssm.c-{n}.{INSTANCE}")).unwrap()
    }

    fn reply(n: u32, last: bool) -> Reply {
        let reply = Reply::new(&job(n), Topic::Send, format!("{{\"n\":{n}}}"), Origin::Poll);
        if last { reply.last() } else { reply }
    }

    async fn open(folder: &Path) -> (Journal, LeftOver) {
        Journal::open(folder, INSTANCE, std::future::pending()).await
    }

    #[tokio::test]
    async fn the_next_life_knows_what_was_taken_answered_and_not_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, left) = open(dir.path()).await;
        assert!(left.taken.is_empty() && left.replies.is_empty());
        (0..4).for_each(|n| journal.taken(&job(n)));
        // 0 is answered and acknowledged, 1 answered, 2 half answered, 3 not ours after all.
        let (done, answered, begun) = (reply(0, true), reply(1, true), reply(2, false));
        [&done, &answered, &begun].into_iter().for_each(|reply| journal.replied(reply));
        journal.acknowledged(done.id);
        journal.withdrawn(&job(3));
        journal.settled().await;
        drop(journal);
        // A line that was cut off in the middle says nothing.
        let mut file = OpenOptions::new().append(true).open(dir.path().join(FILE)).unwrap();
        file.write_all(b"{\"taken\":{\"job\":\"aws.ss").unwrap();
        for _ in 0..3 {
            let (_journal, left) = open(dir.path()).await;
            let taken: Vec<_> = left.taken.iter().map(|(job, _)| job.clone()).collect();
            assert_eq!(taken, [job(0), job(1), job(2)]);
            assert!(left.taken.iter().all(|(_, age)| *age < Duration::from_secs(60)));
            assert_eq!(left.unanswered, [job(2)]);
            let replies: Vec<_> = left.replies.iter().map(|reply| (reply.id, reply.last)).collect();
            assert_eq!(replies, [(answered.id, true), (begun.id, false)]);
            assert_eq!((&left.replies[0].content, left.replies[0].origin), (&answered.content, Origin::Poll));
        }
    }

    #[tokio::test]
    async fn another_instance_has_nothing_to_do_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path()).await;
        journal.taken(&job(1));
        journal.settled().await;
        let (_, left) = Journal::open(dir.path(), "mi-ffffffffffffffff0", std::future::pending()).await;
        assert!(left.taken.is_empty());
        assert!(open(dir.path()).await.1.taken.is_empty(), "it is that instance's journal now");
    }

    #[tokio::test]
    async fn it_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path()).await;
        for n in 0..4_000 {
            let reply = Reply::new(&job(n), Topic::Send, "x".repeat(1_000), Origin::Gateway).last();
            journal.taken(&job(n));
            journal.replied(&reply);
            journal.acknowledged(reply.id);
            journal.settled().await;
        }
        let size = fs::metadata(dir.path().join(FILE)).unwrap().len();
        assert!(size < 2 * COMPACT_BYTES, "{size}");
        let left = open(dir.path()).await.1;
        assert_eq!((left.taken.len(), left.unanswered.len(), left.replies.len()), (4_000, 0, 0));
    }

    #[tokio::test]
    async fn jobs_are_forgotten_in_time_unless_they_are_unanswered() {
        let at = now_ms();
        let line = |n: u32| Line::Taken { job: job(n).to_string(), at };
        let lines = [line(1), line(2), Line::Reply(ReplyLine::of(&reply(1, true)))];
        let later = at + u64::try_from(JOB_MEMORY.as_millis()).unwrap();
        let file: Vec<u8> = lines.iter().flat_map(text_of).collect();
        let contents = |now| Contents::of(file.as_slice()).unwrap().needed(now).left_over(now);
        assert_eq!(contents(later - 1).taken.len(), 2);
        assert_eq!(contents(later).taken, [(job(2), JOB_MEMORY)]);
    }

    #[tokio::test]
    async fn what_is_no_file_does_not_hang_the_start() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join(FILE), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(dir.path()).await.1.taken.is_empty());
        assert!(fs::metadata(dir.path().join(FILE)).unwrap().is_file(), "it is replaced");
    }
}
