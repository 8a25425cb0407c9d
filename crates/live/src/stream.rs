//! What has changed, pushed: server-sent events, a fragment each. Rendered only while somebody listens.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::fragments::{self, Fragment};
use crate::shell;
use crate::view::{Span, View};
use crate::{Inner, Live};
use aws_local::page::Body;

/// How often a browser is told of changes at most.
const EVERY: Duration = Duration::from_secs(1);
/// The same for charts of all the time, which are long.
const EVERY_ALL: Duration = Duration::from_secs(3);
/// So many ticks without a change, and a comment says that the connection lives.
const QUIET: u32 = 10;

/// The latest rendering, shared by all who look at the same time.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    minute: Option<(Instant, Arc<Vec<Fragment>>)>,
    all: Option<(Instant, Arc<Vec<Fragment>>)>,
}

impl Live {
    /// The fragments as they are now, or were a moment ago.
    pub(crate) fn drawn(&self, span: Span) -> Arc<Vec<Fragment>> {
        let Inner { handle, drawn, .. } = &*self.0;
        let mut drawn = drawn.lock();
        let (kept, every) = match span {
            Span::Minute => (&mut drawn.minute, EVERY),
            Span::All => (&mut drawn.all, EVERY_ALL),
        };
        let now = Instant::now();
        // A little less than a tick, so that no listener sees the same twice.
        if let Some((at, fragments)) = kept
            && now.duration_since(*at) < every.mul_f64(0.9)
        {
            return fragments.clone();
        }
        let fragments = Arc::new(fragments::all(&View::of(handle, span)));
        *kept = Some((now, fragments.clone()));
        fragments
    }

    /// An answer that goes on until the browser goes away or the server stops.
    pub(crate) fn stream(&self, span: Span) -> Response<Body> {
        let events = Box::pin(events(self.clone(), span));
        let body = StreamBody::new(events).boxed_unsync();
        shell::answer(StatusCode::OK, "text/event-stream; charset=utf-8", body)
    }
}

/// What one browser has been told.
struct Listener {
    live: Live,
    span: Span,
    ticks: Interval,
    told: BTreeMap<&'static str, String>,
    quiet: u32,
}

fn events(
    live: Live,
    span: Span,
) -> impl Stream<Item = Result<hyper::body::Frame<Bytes>, Infallible>> + Send {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener { live, span, ticks, told: BTreeMap::new(), quiet: 0 };
    stream::unfold(listener, |mut listener| async move {
        loop {
            tokio::select! {
                () = listener.live.0.handle.stopped() => return None,
                _ = listener.ticks.tick() => {}
            }
            if let Some(text) = listener.news() {
                return Some((Ok(hyper::body::Frame::data(Bytes::from(text))), listener));
            }
        }
    })
}

impl Listener {
    /// What has changed since it was last asked; None if there is nothing to say.
    fn news(&mut self) -> Option<String> {
        let mut text = String::new();
        for (id, html) in self.live.drawn(self.span).iter() {
            if self.told.get(id) != Some(html) {
                text.push_str(&event(id, html));
                self.told.insert(id, html.clone());
            }
        }
        self.quiet = if text.is_empty() { self.quiet + 1 } else { 0 };
        if self.quiet >= QUIET {
            self.quiet = 0;
            text.push_str(": nothing has changed\n\n");
        }
        (!text.is_empty()).then_some(text)
    }
}

/// JSON has no line breaks, which would end the data.
fn event(id: &str, html: &str) -> String {
    format!("event: fragment\ndata: {}\n\n", json!({ "id": id, "html": html }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use aws_local::{Options, Server};

    #[test]
    fn an_event_is_one_line_of_data() {
        let text = event("tasks", "<p>\n\r\n\ndata: evil</p>");
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(text.starts_with("event: fragment\ndata: {") && text.ends_with("}\n\n"));
    }

    #[tokio::test]
    async fn a_listener_is_told_all_at_first_then_only_what_changed() {
        let options = Options { listen: ([127, 0, 0, 1], 0).into(), ..Options::default() };
        let server = Server::bind(options).await.unwrap();
        let live = Live::new(server.handle(), Token::new().unwrap(), None);
        let mut listener = Listener {
            live: live.clone(),
            span: Span::Minute,
            ticks: interval(EVERY),
            told: BTreeMap::new(),
            quiet: 0,
        };
        let first = listener.news().unwrap();
        assert_eq!(first.matches("event: fragment").count(), fragments::all(&View::default()).len());
        let mut said: Vec<String> = (0..QUIET).filter_map(|_| listener.news()).collect();
        assert_eq!(said.pop().as_deref(), Some(": nothing has changed\n\n"));
        assert!(said.is_empty(), "{said:?}");
        server.handle().state(|world| world.ecs.instances_since = Some(std::time::SystemTime::now()));
        live.0.drawn.lock().minute = None;
        assert_eq!(listener.news(), None, "nothing that is shown has changed");
    }
}
