//! Whether this sidecar lives: a question on a socket in the state folder, which the control thread answers itself.
//!
//! A file can only say what was true when it was written. A process that is stopped, or whose control thread is
//! blocked, does not answer; one that is gone refuses; a foreign process that has its number now has no such socket.
//! Where the folder hangs nobody gets to the socket, so the same is asked on one that lies in no folder, too.

use std::cell::Cell;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use effects::state_folder;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

/// The socket in the state folder.
const SOCKET: &str = "alive.sock";

/// How long the answer may take. The control thread is never busy for longer than some milliseconds.
const LIMIT: Duration = Duration::from_secs(1);

/// Far more than an answer has.
const MAX_ANSWER_BYTES: u64 = 4096;

/// What a sidecar is doing, as far as its health goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is not registered yet.
    #[default]
    Starting,
    /// Systems Manager throttles its registration. A task in its place would have to wait as well.
    Throttled,
    /// It takes commands. Also without a channel: that may be the very fault that was asked for.
    Serving,
    /// Systems Manager does not know its instance any more; it will register anew.
    Unknown,
}

impl Phase {
    /// Whether the task should go on.
    pub fn is_healthy(self) -> bool {
        matches!(self, Phase::Throttled | Phase::Serving)
    }

    /// In words, behind `the sidecar`.
    pub fn text(self) -> &'static str {
        match self {
            Phase::Starting => "is not registered yet",
            Phase::Throttled => "waits to be registered: Systems Manager throttles it",
            Phase::Serving => "takes commands",
            Phase::Unknown => "is not known to Systems Manager any more, and will register anew",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// The sidecar's process id, as it sees itself.
    pub pid: u32,
    /// What it is doing.
    pub phase: Phase,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// There is no socket, or nobody listens on it.
    #[error("no sidecar is running here (state folder {0})")]
    Gone(PathBuf),
    /// It did not answer in time.
    #[error("the sidecar does not answer within {} s: its process is stopped, or its control thread is blocked", LIMIT.as_secs())]
    Late,
    /// Something else went wrong.
    #[error("the sidecar cannot be asked through {0}: {1}")]
    Failed(PathBuf, io::Error),
}

/// The phase that is told to whoever asks.
#[derive(Debug, Default)]
pub struct Liveness(Cell<Phase>);

impl Liveness {
    /// From now on it is this one.
    pub fn set(&self, phase: Phase) {
        self.0.set(phase);
    }
}

/// Takes the place at which to be asked. Only for who has the lock of the folder: what stands there is of an earlier
/// life.
///
/// # Errors
/// The folder takes no socket.
pub fn listen(folder: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let file = SocketFile(folder.join(SOCKET));
    let _ = std::fs::remove_file(&file.0);
    let (_folder, path) = short_path(folder)?;
    Ok((UnixListener::bind(path)?, file))
}

/// The socket's place in the folder, which is removed when this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the socket is removed"]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        state_folder::submit(move || drop(std::fs::remove_file(path)));
    }
}

/// The socket under a name that is short enough for its address (107 bytes), for as long as the file is open.
fn short_path(folder: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Takes the second place, which is of no file system. Others of this network namespace could have taken its name.
///
/// # Errors
/// They have.
pub fn listen_apart(folder: &Path) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::bind_addr(&address(folder)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// An abstract name for the folder, as the processes of this mount namespace call it.
fn address(folder: &Path) -> io::Result<SocketAddr> {
    let mut hasher = DefaultHasher::new();
    std::fs::read_link("/proc/self/ns/mnt")?.hash(&mut hasher);
    folder.components().for_each(|part| part.hash(&mut hasher));
    SocketAddr::from_abstract_name(format!("taskfault-alive:{:016x}", hasher.finish()))
}

/// Answers for ever.
pub async fn answer(listener: UnixListener, liveness: Rc<Liveness>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            // Out of descriptors: whoever asks waits in the backlog.
            tokio::time::sleep(LIMIT / 10).await;
            continue;
        };
        let alive = Alive { pid: std::process::id(), phase: liveness.0.get() };
        let line = serde_json::to_string(&alive).unwrap_or_default() + "\n";
        // A line fits into the socket's buffer, so this does not wait for whoever asked.
        let _ = stream.write_all(line.as_bytes()).await;
    }
}

/// Asks the sidecar in `folder`, in both ways.
///
/// # Errors
/// [`NoAnswer`]: there is none, or it does not answer within a second.
pub fn ask(folder: &Path) -> Result<Alive, NoAnswer> {
    let (sender, answers) = std::sync::mpsc::channel();
    for apart in [false, true] {
        let (sender, folder) = (sender.clone(), folder.to_owned());
        // On a thread, because even connecting waits where a process that is stopped has not taken earlier questions.
        std::thread::spawn(move || {
            let answer = if apart { ask_apart(&folder) } else { ask_in(&folder) };
            sender.send((apart, answer))
        });
    }
    drop(sender);
    let end = Instant::now() + LIMIT;
    let mut refused = None;
    while let Ok((apart, answer)) = answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
        match answer {
            Ok(alive) => return Ok(alive),
            // That there is nothing apart says nothing.
            Err(_) if apart => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        None => NoAnswer::Late,
        Some(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            NoAnswer::Gone(folder.to_owned())
        }
        Some(error) => NoAnswer::Failed(folder.join(SOCKET), error),
    })
}

fn ask_in(folder: &Path) -> io::Result<Alive> {
    let (_folder, path) = short_path(folder)?;
    read(UnixStream::connect(path)?)
}

fn ask_apart(folder: &Path) -> io::Result<Alive> {
    let stream = UnixStream::connect_addr(&address(folder)?)?;
    // Of this user and seen from here as it sees itself: no neighbour with processes of its own answers for it.
    let peer = getsockopt(&stream, sockopt::PeerCredentials)?;
    let alive = read(stream)?;
    if peer.uid() == geteuid().as_raw() && u32::try_from(peer.pid()) == Ok(alive.pid) {
        Ok(alive)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn read(stream: UnixStream) -> io::Result<Alive> {
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, MAX_ANSWER_BYTES)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks from another thread, as another process would.
    async fn asked(folder: &Path) -> Result<Alive, NoAnswer> {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || ask(&folder)).await.unwrap()
    }

    #[tokio::test]
    async fn the_control_thread_says_what_it_is_doing() {
        // A folder whose name is longer than a socket's address.
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("f".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        assert!(matches!(asked(&folder).await, Err(NoAnswer::Gone(_))));
        let liveness = Rc::new(Liveness::default());
        let (listener, socket) = listen(&folder).unwrap();
        tokio::task::LocalSet::new()
            .run_until(async {
                let task = tokio::task::spawn_local(answer(listener, Rc::clone(&liveness)));
                for phase in [Phase::Starting, Phase::Throttled, Phase::Serving, Phase::Unknown] {
                    liveness.set(phase);
                    assert_eq!(asked(&folder).await.unwrap(), Alive { pid: std::process::id(), phase });
                }
                task.abort();
                let _ = task.await;
            })
            .await;
        assert!(folder.join(SOCKET).exists());
        assert!(
            matches!(asked(&folder).await, Err(NoAnswer::Gone(_))),
            "the socket is there, but no process"
        );
        // Where the folder does not answer, or is gone, the sidecar does on the other way.
        tokio::task::LocalSet::new()
            .run_until(async {
                let apart = listen_apart(&folder).unwrap();
                assert!(listen_apart(&folder).is_err(), "the name is taken");
                let task = tokio::task::spawn_local(answer(apart, Rc::clone(&liveness)));
                assert_eq!(asked(&folder).await.unwrap().phase, Phase::Unknown);
                task.abort();
                let _ = task.await;
            })
            .await;
        drop(socket);
        assert!(state_folder::settled().await);
        assert!(!folder.join(SOCKET).exists());
    }

    #[tokio::test]
    async fn a_thread_that_does_not_answer_is_told_however_often_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        // One place in the queue of those who connect, and nobody takes them.
        let path = dir.path().join(SOCKET);
        let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Unix,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        )
        .unwrap();
        nix::sys::socket::bind(socket.as_raw_fd(), &address).unwrap();
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        for _ in 0..3 {
            assert!(matches!(asked(dir.path()).await, Err(NoAnswer::Late)));
        }
    }
}
