//! Threads that work until they are told to end, and are gone when their pool is.
//!
//! Knows nothing of what they do. The kernel ends them with the process, whatever happens to our code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Enough for a worker; its buffers are on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// What tells every thread of a pool to end.
#[derive(Debug, Clone, Default)]
pub struct StopSignal {
    flag: Arc<AtomicBool>,
    one_ended: CancellationToken,
}

impl StopSignal {
    /// Whether the thread is to end now.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Sleeps for `time`, or until the thread is to end.
    pub fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

/// Reports that a thread has ended, also when it unwinds.
struct ExitGuard(CancellationToken);

impl Drop for ExitGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Running threads, each of which ends with an `R` or with the reason why it could not. Dropping the pool ends
/// them and waits until they are gone.
#[derive(Debug)]
#[must_use = "dropped, the workers end"]
pub struct WorkerPool<R> {
    name: &'static str,
    stop: StopSignal,
    threads: Vec<JoinHandle<Result<R, String>>>,
}

impl<R: Send + 'static> WorkerPool<R> {
    /// A pool without a thread. Its threads will be called `name` and a number; 15 characters are seen.
    pub fn new(name: &'static str) -> WorkerPool<R> {
        WorkerPool { name, stop: StopSignal::default(), threads: Vec::new() }
    }

    /// Starts one more thread.
    ///
    /// # Errors
    /// If it cannot be had, in words. Those that run go on.
    pub fn add(
        &mut self,
        work: impl FnOnce(&StopSignal) -> Result<R, String> + Send + 'static,
    ) -> Result<(), String> {
        let (stop, number) = (self.stop.clone(), self.threads.len() + 1);
        let thread = thread::Builder::new()
            .name(format!("{}-{number}", self.name))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _guard = ExitGuard(stop.one_ended.clone());
                work(&stop)
            })
            .map_err(|error| {
                format!(
                    "could not start worker thread {number}: {error}; raise the pids limit or ask for fewer workers"
                )
            })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Is ready as soon as one thread has ended.
    pub fn one_ended(&self) -> WaitForCancellationFutureOwned {
        self.stop.one_ended.clone().cancelled_owned()
    }

    /// Tells all threads to end and waits for them: what each of them came to, in order.
    pub fn end(&mut self) -> Vec<Result<R, String>> {
        self.stop.flag.store(true, Ordering::Relaxed);
        for thread in &self.threads {
            thread.thread().unpark();
        }
        self.threads.drain(..).map(joined).collect()
    }
}

impl<R> Drop for WorkerPool<R> {
    fn drop(&mut self) {
        self.stop.flag.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn joined<R>(thread: JoinHandle<Result<R, String>>) -> Result<R, String> {
    thread.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("a worker thread panicked: {}", text.unwrap_or_else(|| "without words".into())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_wakes_sleepers_and_gives_what_they_came_to() {
        let mut pool = WorkerPool::new("test-pool");
        for number in 0..3 {
            pool.add(move |stop| {
                stop.sleep(Duration::from_secs(3600));
                Ok(number)
            })
            .unwrap();
        }
        assert_eq!(pool.end(), [Ok(0), Ok(1), Ok(2)]);
    }

    #[test]
    fn one_that_panics_is_heard_and_told() {
        let mut pool: WorkerPool<()> = WorkerPool::new("test-pool");
        pool.add(|stop| {
            stop.sleep(Duration::from_secs(3600));
            Ok(())
        })
        .unwrap();
        pool.add(|_| panic!("out of luck")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pool.one_ended());
        assert_eq!(pool.end(), [Ok(()), Err("a worker thread panicked: out of luck".into())]);
    }

    #[test]
    fn drop_ends_too() {
        let mut pool = WorkerPool::new("test-pool");
        pool.add(|stop| {
            stop.sleep(Duration::from_secs(3600));
            Ok(())
        })
        .unwrap();
        let stop = Arc::downgrade(&pool.stop.flag);
        drop(pool);
        assert_eq!(stop.strong_count(), 0, "a thread still holds the flag");
    }
}
