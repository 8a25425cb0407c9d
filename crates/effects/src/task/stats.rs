//! What the other containers of the task use of its memory, from the task metadata: `/task/stats` has the
//! statistics of each container, as docker's API has them. For where their processes cannot be seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;

use http_client::Client;
use http_client::host_of;

/// The endpoint answers within milliseconds; a fault does not wait long for what is only the better number.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is asked again while it is needed. The agent itself samples about as often.
pub const AGAIN: Duration = Duration::from_secs(5);

/// The container that asks: `${ECS_CONTAINER_METADATA_URI_V4}` itself.
#[derive(Deserialize)]
struct Own {
    #[serde(rename = "DockerId")]
    id: String,
}

/// One container. Null while there is no sample of it.
#[derive(Deserialize)]
struct Container {
    memory_stats: Option<Memory>,
}

#[derive(Deserialize)]
struct Memory {
    #[serde(default)]
    usage: u64,
    #[serde(default)]
    stats: HashMap<String, serde_json::Value>,
}

impl Memory {
    /// Without the inactive pages of files, as elsewhere (`total_…` in cgroup v1).
    fn used(&self) -> u64 {
        let cache =
            ["total_inactive_file", "inactive_file"].iter().find_map(|name| self.stats.get(*name)?.as_u64());
        self.usage.saturating_sub(cache.unwrap_or(0))
    }
}

/// The memory of the other containers in bytes, asked for again and again.
#[derive(Debug, Clone)]
pub struct Others {
    client: Client,
    base: String,
    used: Arc<AtomicU64>,
}

impl Others {
    /// Asks at `base`, the value of `ECS_CONTAINER_METADATA_URI_V4`.
    ///
    /// # Errors
    /// In words, why it is not known.
    pub async fn ask(client: Client, base: &str) -> Result<Others, String> {
        let used = Arc::new(AtomicU64::new(0));
        let others = Others { client, base: base.trim_end_matches('/').to_owned(), used };
        others.ask_again().await?;
        Ok(others)
    }

    /// The number, kept up to date by [`Others::follow`].
    pub fn used(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.used)
    }

    /// Keeps the number up to date, for ever. While nobody answers it stays what it was.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(AGAIN).await;
            if let Err(reason) = self.ask_again().await {
                tracing::warn!(reason, "cannot tell what the other containers use of the memory");
            }
        }
    }

    async fn ask_again(&self) -> Result<(), String> {
        let own: Own = self.get("").await?;
        let all: HashMap<String, Option<Container>> = self.get("/task/stats").await?;
        if !all.contains_key(&own.id) {
            return Err(format!("{}/task/stats does not know this container, {}", self.base, own.id));
        }
        let others = all.iter().filter(|(id, _)| **id != own.id);
        let used = others.filter_map(|(_, one)| Some(one.as_ref()?.memory_stats.as_ref()?.used())).sum();
        self.used.store(used, Ordering::Relaxed);
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
        let request = Request::get(&uri)
            .header(header::HOST, host_of(&uri))
            .body(Full::<Bytes>::default())
            .map_err(|error| error.to_string())?;
        let answer = self.client.send(request, TIMEOUT).await.map_err(|reason| format!("{url}: {reason}"))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{url} answers {}", answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|error| format!("{url} makes no sense: {error}"))
    }
}

/// Reads bytes as the statistics of a task's containers, and as the container that asks.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Own>(bytes);
    if let Ok(all) = serde_json::from_slice::<HashMap<String, Option<Container>>>(bytes) {
        let used = all.values().flatten().filter_map(|one| Some(one.memory_stats.as_ref()?.used()));
        let _ = used.fold(0u64, u64::saturating_add);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Plays the endpoint: answers by path, each connection once.
    fn endpoint(stats: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v4/x", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or_default();
                let asked = String::from_utf8_lossy(&request[..length]).into_owned();
                let body = match asked.split(' ').nth(1) {
                    Some("/v4/x") => r#"{"DockerId": "own", "Name": "taskfault"}"#,
                    Some("/v4/x/task/stats") => stats,
                    _ => "",
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        base
    }

    fn asked(stats: &'static str) -> Result<u64, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let base = endpoint(stats);
        let others =
            runtime.block_on(Others::ask(Client::new(&http_client::Network::default()).unwrap(), &base))?;
        Ok(others.used().load(Ordering::Relaxed))
    }

    #[test]
    fn the_use_of_all_others_is_added_up_without_the_cache() {
        let stats = r#"{"own": {"memory_stats": {"usage": 7000, "stats": {"inactive_file": 1}}},
            "v1": {"memory_stats": {"usage": 5000, "stats": {"inactive_file": 1, "total_inactive_file": 2000}}},
            "v2": {"memory_stats": {"usage": 900, "limit": 5, "stats": {"inactive_file": 100, "anon": 4}}},
            "new": null, "young": {"memory_stats": {}}, "none": {}}"#;
        assert_eq!(asked(stats), Ok(3800));
    }

    #[test]
    fn an_answer_that_says_nothing_of_us_is_none() {
        let error = asked(r#"{"v1": {"memory_stats": {"usage": 5000}}}"#).unwrap_err();
        assert!(error.contains("does not know this container, own"), "{error}");
        assert!(asked("[]").unwrap_err().contains("makes no sense"));
    }
}
