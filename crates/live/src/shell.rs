//! The page itself: its frame, style and script, and what an unknown path gets. All of it is ours and comes from here.

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::fragments::Fragment;
use crate::view::Span;
use aws_local::page::Body;

const SCRIPT: &str = include_str!("page.js");

/// Nothing but ours is loaded, and no page can put this one into itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer with the headers that keep a page to itself.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    answer
}

/// A whole body.
pub(crate) fn whole(text: impl Into<bytes::Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A whole page.
pub(crate) fn html(status: StatusCode, markup: Markup) -> Response<Body> {
    answer(status, "text/html; charset=utf-8", whole(markup.into_string()))
}

/// The style sheet: the report's, so that its pictures look the same, and ours.
pub(crate) fn style() -> Response<Body> {
    let style = format!("{}\n{}", experiment::report::STYLE, include_str!("page.css"));
    answer(StatusCode::OK, "text/css; charset=utf-8", whole(style))
}

/// The script.
pub(crate) fn script() -> Response<Body> {
    answer(StatusCode::OK, "text/javascript; charset=utf-8", whole(SCRIPT))
}

/// What stands around the fragments.
pub(crate) struct Frame<'a> {
    /// As the browser wrote it: `127.0.0.1:4566`.
    pub(crate) host: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    pub(crate) speed: f64,
    pub(crate) span: Span,
    pub(crate) fragments: &'a [Fragment],
}

/// The page.
pub(crate) fn page(frame: &Frame<'_>) -> Response<Body> {
    let part = |id: &str| {
        let found = frame.fragments.iter().find(|(name, _)| *name == id);
        PreEscaped(found.map_or("", |(_, html)| html.as_str()))
    };
    let span = match frame.span {
        Span::Minute => "minute",
        Span::All => "all",
    };
    html(
        StatusCode::OK,
        document(
            "taskfault: live",
            html! {
                a class="skip" href="#main" { "Skip to the charts" }
                header class="top" {
                    div class="bar" {
                        h1 { "taskfault" }
                        p id="link" class="muted" role="status" { "connecting" }
                    }
                    div id="now" { (part("now")) }
                    p id="answer" role="alert" {}
                    (copied(frame))
                }
                main id="main" data-span=(span) {
                    nav class="spans" aria-label="How much time the charts show" {
                        a href="/?span=minute" aria-current=[(frame.span == Span::Minute).then_some("true")] { "Last minute" }
                        a href="/?span=all" aria-current=[(frame.span == Span::All).then_some("true")] { "All" }
                        a href="/_taskfault/live/report.html" download { "Report of all" }
                        a href="/_taskfault/live/report.json" download { "as data" }
                    }
                    div id="charts" { (part("charts")) }
                    div class="columns" {
                        (section("tasks", "Tasks", part("tasks")))
                        (section("experiments", "Experiment", part("experiments")))
                        (section("alarms", "Alarms", part("alarms")))
                        (section("events", "Events", part("events")))
                        (section("templates", "Templates", part("templates")))
                    }
                    p id="said" class="hidden" role="status" { (part("said")) }
                    p id="hover" hidden {}
                }
                dialog id="ask" aria-labelledby="ask-title" {
                    h2 id="ask-title" { "Stop the experiment?" }
                    p id="ask-name" {}
                    p { "Its faults are undone now. It ends as stopped, and cannot go on." }
                    div class="buttons" {
                        button type="button" id="ask-no" { "Let it run" }
                        button type="button" id="ask-yes" class="stop" { "Stop it" }
                    }
                }
                footer {
                    "taskfault-local " (env!("CARGO_PKG_VERSION")) ". The same as data: "
                    a href="/_taskfault/record" { "record" } ", " a href="/metrics" { "metrics for Prometheus" } "."
                }
            },
        ),
    )
}

fn section(id: &str, title: &str, content: PreEscaped<&str>) -> Markup {
    html! {
        section aria-labelledby={ (id) "-title" } class=(id) {
            h2 id={ (id) "-title" } { (title) }
            div id=(id) { (content) }
        }
    }
}

/// The endpoint, and the lines that lead clients to it.
fn copied(frame: &Frame<'_>) -> Markup {
    let Frame { host, region, account, speed, .. } = *frame;
    let lines = format!(
        "export AWS_ENDPOINT_URL=http://{host} AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local\n\
         aws sts get-caller-identity"
    );
    html! {
        details class="endpoint" id="endpoint" {
            summary {
                "Endpoint " code { "http://" (host) } ", " (region) ", account " (account)
                @if speed > 1.0 { ", durations " (speed) " times shorter" }
            }
            pre id="lines" tabindex="0" { (lines) }
            button type="button" id="copy" data-copy="lines" { "Copy the lines" }
        }
    }
}

/// What a browser gets that asks for nothing that there is.
pub(crate) fn not_found(path: &str) -> Response<Body> {
    html(
        StatusCode::NOT_FOUND,
        document(
            "taskfault: not found",
            html! {
                main {
                    h1 { "Not found" }
                    p { "There is no page " code { (path) } " here." }
                    p { a href="/" { "The live page" } " shows what runs. AWS calls are " code { "POST /" } "." }
                }
            },
        ),
    )
}

fn document(title: &str, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/_taskfault/live/style.css";
                script src="/_taskfault/live/page.js" defer {}
            }
            body { (body) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(answer: Response<Body>) -> String {
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_path_that_leads_nowhere_is_shown_as_text() {
        let answer = not_found("/<script>alert(1)</script>");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let page = text(answer).await;
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    }

    #[tokio::test]
    async fn nothing_comes_from_elsewhere() {
        let frame = Frame {
            host: "127.0.0.1:4566\"><img>",
            region: "us-east-1",
            account: "000000000000",
            speed: 15.0,
            span: Span::All,
            fragments: &[("now", "<b>fragment</b>".to_owned())],
        };
        let answer = page(&frame);
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
        let page = text(answer).await;
        assert!(page.contains("<b>fragment</b>") && !page.contains("<img>"), "{page}");
        for reference in page.split(" href=\"").skip(1).chain(page.split(" src=\"").skip(1)) {
            assert!(
                reference.starts_with('/') || reference.starts_with('#') || reference.starts_with("data:,")
            );
        }
        for (name, sheet) in [("style", text(style()).await), ("script", text(script()).await)] {
            assert!(
                !sheet.contains("http:") && !sheet.contains("https:") && !sheet.contains("@import"),
                "{name}"
            );
        }
    }
}
