//! Which request of a browser gets what.

use std::time::SystemTime;

use aws_local::page::{Body, Page};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use record::Record;
use record::clock::epoch_seconds;
use serde_json::json;

use crate::shell::{self, Frame, whole};
use crate::view::Span;
use crate::{Live, logs, metrics, steer};

/// Seconds before and after an experiment that its report shows, too.
const AROUND: f64 = 15.0;

impl Page for Live {
    fn answer(&self, request: &Request<Bytes>) -> Response<Body> {
        let path = request.uri().path();
        match (request.method(), path.strip_prefix("/_taskfault/live/").unwrap_or(path)) {
            (&Method::GET, "/") => self.page(request),
            (&Method::GET, "/metrics") => {
                let text = metrics::text(&self.0.handle);
                shell::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", whole(text))
            }
            (&Method::GET, "style.css") => shell::style(),
            (&Method::GET, "page.js") => shell::script(),
            (&Method::GET, "stream") => self.stream(span(request)),
            (&Method::GET, "log") => self.log(request),
            (&Method::GET, kind @ ("report.html" | "report.json")) => self.report(kind, request),
            (&Method::POST, what) => {
                let (status, body) = steer::answer(&self.0.handle, &self.0.token, what, request);
                shell::answer(status, "application/json", whole(body.to_string()))
            }
            _ => shell::not_found(path),
        }
    }

    fn not_found(&self, path: &str) -> Response<Body> {
        shell::not_found(path)
    }
}

/// A value of the query.
fn asked(request: &Request<Bytes>, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn span(request: &Request<Bytes>) -> Span {
    match asked(request, "span").as_deref() {
        Some("all") => Span::All,
        _ => Span::Minute,
    }
}

impl Live {
    fn page(&self, request: &Request<Bytes>) -> Response<Body> {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let context = self.0.handle.context();
        let span = span(request);
        shell::page(&Frame {
            host,
            region: &context.region,
            account: &context.account,
            speed: context.speed,
            span,
            fragments: &self.drawn(span),
        })
    }

    /// The end of a container's log, of a task that the control plane knows.
    fn log(&self, request: &Request<Bytes>) -> Response<Body> {
        let (task, container) =
            (asked(request, "task").unwrap_or_default(), asked(request, "container").unwrap_or_default());
        let known = self.0.handle.read(|world| {
            let mut tasks = world.ecs.tasks.values();
            tasks.any(|it| it.id == task && it.containers.iter().any(|one| one.name == container))
        });
        let text = match (&self.0.logs, known) {
            (Some(folder), true) => logs::tail(folder, &task, &container)
                .unwrap_or_else(|error| format!("the log cannot be read: {error}")),
            _ => "there is no log of it here".to_owned(),
        };
        shell::answer(StatusCode::OK, "text/plain; charset=utf-8", whole(text))
    }

    /// The report of everything, or of one experiment.
    fn report(&self, kind: &str, request: &Request<Bytes>) -> Response<Body> {
        let record = self.0.handle.record();
        let experiment = asked(request, "experiment");
        let Some(record) = part(record, experiment.as_deref()) else {
            return shell::not_found(request.uri().path());
        };
        let (mime, text) = match kind {
            "report.json" => ("application/json", json!(record).to_string()),
            _ => ("text/html; charset=utf-8", experiment::report::html(&record)),
        };
        let mut answer = shell::answer(StatusCode::OK, mime, whole(text));
        let name = experiment.map_or("taskfault".to_owned(), |id| format!("taskfault-{id}"));
        let end = kind.trim_start_matches("report");
        if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}{end}\"")) {
            answer.headers_mut().insert(header::CONTENT_DISPOSITION, value);
        }
        answer
    }
}

/// All of a record, or the part of one experiment; None if there is no such experiment.
fn part(record: Record, experiment: Option<&str>) -> Option<Record> {
    let Some(id) = experiment else { return Some(record) };
    let found = record.experiments.iter().find(|it| it.id == id)?;
    let (from, to) = (found.started?, found.ended.unwrap_or_else(|| epoch_seconds(SystemTime::now())));
    let (from, to) = ((from - AROUND).max(record.from), (to + AROUND).min(record.to));
    let mut part = record.between(from, to);
    part.experiments.retain(|it| it.id == id);
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;
    use aws_local::{Options, Server};
    use http_body_util::BodyExt;

    async fn live() -> (Server, Live) {
        let options = Options { listen: ([127, 0, 0, 1], 0).into(), ..Options::default() };
        let server = Server::bind(options).await.unwrap();
        let live = Live::new(server.handle(), Token::new().unwrap(), None);
        (server, live)
    }

    fn get(path: &str) -> Request<Bytes> {
        Request::builder().uri(path).header("host", "localhost:4566").body(Bytes::new()).unwrap()
    }

    async fn told(answer: Response<Body>) -> (u16, String) {
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let (_server, live) = live().await;
        for (path, status, words) in [
            ("/", 200, "id=\"charts\""),
            ("/?span=all", 200, "data-span=\"all\""),
            ("/metrics", 200, "taskfault_sidecars"),
            ("/_taskfault/live/style.css", 200, "--p95"),
            ("/_taskfault/live/page.js", 200, "EventSource"),
            ("/_taskfault/live/report.html", 200, "taskfault report"),
            ("/_taskfault/live/report.json", 200, "\"format\":1"),
            ("/_taskfault/live/report.html?experiment=EXPnone", 404, "Not found"),
            ("/_taskfault/live/log?task=..&container=passwd", 200, "there is no log"),
            ("/_taskfault/live/other", 404, "/_taskfault/live/other"),
        ] {
            let (found, text) = told(live.answer(&get(path))).await;
            assert!(found == status && text.contains(words), "{path}: {found} {text}");
        }
    }

    #[tokio::test]
    async fn a_change_without_the_token_changes_nothing() {
        let (_server, live) = live().await;
        let post = |token: &str| {
            let request = Request::post("/_taskfault/live/start").header("content-type", "application/json");
            let request = request.header("x-taskfault-token", token);
            request.body(Bytes::from_static(b"{\"template\":\"EXTnone\"}")).unwrap()
        };
        assert_eq!(told(live.answer(&post("wrong"))).await.0, 403);
        let (status, text) = told(live.answer(&post(live.0.token.text()))).await;
        assert!(status == 404 && text.contains("EXTnone"), "the service's own words: {status} {text}");
    }

    #[test]
    fn a_report_of_one_experiment_has_no_other() {
        let record = record::sample::record();
        let part = part(record.clone(), Some("EXP2")).unwrap();
        assert_eq!(part.experiments.len(), 1);
        assert!(part.load.unwrap().seconds.len() < record.load.as_ref().unwrap().seconds.len());
        assert!(super::part(record, Some("EXPnone")).is_none());
    }
}
