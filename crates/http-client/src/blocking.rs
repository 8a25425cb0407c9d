//! One plain-HTTP call that the calling thread waits for: in a Drop, beside a running runtime, or without any.
//!
//! For link-local addresses (task metadata, the ECS agent), which have no TLS.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;

use crate::SendError;

/// Asks `GET url`, and gives the whole answer within `limit`.
///
/// # Errors
/// Why there is none.
pub fn get(url: &str, limit: Duration) -> Result<Response<Bytes>, SendError> {
    send(request(Method::GET, url, Bytes::new())?, limit)
}

/// Sends a JSON text to `url`, and gives the whole answer within `limit`.
///
/// # Errors
/// Why there is none.
pub fn post_json(url: &str, body: &str, limit: Duration) -> Result<Response<Bytes>, SendError> {
    let mut request = request(Method::POST, url, Bytes::copy_from_slice(body.as_bytes()))?;
    let json = header::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    send(request, limit)
}

fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Full<Bytes>>, SendError> {
    let url: Uri = url.parse().map_err(|_| broken("not an address"))?;
    if url.scheme_str() != Some("http") {
        return Err(broken("not an http:// address"));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url;
    Ok(request)
}

fn broken(text: impl ToString) -> SendError {
    SendError::Broken(text.to_string())
}

/// On a thread of its own, because the calling one may drive a runtime, and that can drive no second.
fn send(request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Bytes>, SendError> {
    let no_thread = |error| broken(format!("no thread can be had for the call: {error}"));
    let call = std::thread::Builder::new().name("http-call".to_owned());
    let call = call.spawn(move || exchange(request, limit)).map_err(no_thread)?;
    call.join().unwrap_or_else(|_| Err(broken("the call's thread panicked")))
}

fn exchange(request: Request<Full<Bytes>>, limit: Duration) -> Result<Response<Bytes>, SendError> {
    // Without TLS: no roots are loaded for a link-local call.
    let client = HyperClient::builder(TokioExecutor::new()).build(crate::tcp());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let answer = runtime.block_on(crate::exchange(&client, request, limit));
    // Not waited for: a name look-up that was given up may hang for longer than the limit.
    runtime.shutdown_background();
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server at `address` that takes one request and answers it with each of `parts`, a moment apart. Gives
    /// its URL, and what it was sent.
    fn server(address: &str, parts: &'static [&'static str]) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("http://{}/api?x=1", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let from = head.len();
                reader.read_line(&mut head).unwrap();
                if let Some(value) = head[from..].to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            for part in parts {
                stream.write_all(part.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            head + &String::from_utf8(body).unwrap()
        });
        (url, served)
    }

    #[test]
    fn an_answer_of_several_chunks_is_put_together() {
        let (url, served) = server(
            "127.0.0.1:0",
            &[
                "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"Error\"\r\n",
                "5\r\n:\"no\"\r\n1\r\n}\r\n",
                "0\r\n\r\n",
            ],
        );
        let answer = post_json(&url, "{\"a\":1}", LIMIT).unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (409, &b"{\"Error\":\"no\"}"[..]));
        let request = served.join().unwrap().to_lowercase();
        assert!(request.starts_with("post /api?x=1 http/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/json\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let (url, served) = server("[::1]:0", &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]);
        assert_eq!(&get(&url, LIMIT).unwrap().body()[..], b"{}");
        let request = served.join().unwrap();
        let host = url.strip_prefix("http://").unwrap().strip_suffix("/api?x=1").unwrap();
        assert!(request.to_lowercase().contains(&format!("host: {host}\r\n")), "{request}");
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        for (parts, hung_up) in [
            (&["HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"][..], true),
            (&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"], true),
            (&["HTTP/1.1 200 OK\r\n"], true),
            (&["SSH-2.0\r\n\r\n"], false),
            (&[""], true),
        ] {
            let (url, served) = server("127.0.0.1:0", parts);
            let error = get(&url, LIMIT).unwrap_err();
            assert_eq!(matches!(error, SendError::HungUp(_)), hung_up, "{parts:?}: {error:?}");
            served.join().unwrap();
        }
    }

    #[test]
    fn an_answer_that_trickles_in_is_not_waited_for() {
        // The system accepts the connection; nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let began = Instant::now();
        assert_eq!(get(&url, Duration::from_secs(1)).unwrap_err().to_string(), "no answer within 1 s");
        let accepted = std::thread::spawn(move || {
            let (_, _) = (
                listener.accept(),
                listener.accept().map(|(mut stream, _)| {
                    while stream.write_all(b"H").is_ok() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }),
            );
        });
        assert!(get(&url, Duration::from_secs(1)).is_err());
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        accepted.join().unwrap();
    }

    #[tokio::test]
    async fn it_works_inside_a_running_runtime() {
        let (url, served) = server("127.0.0.1:0", &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
        assert_eq!(get(&url, LIMIT).unwrap().status(), 200);
        served.join().unwrap();
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        assert_eq!(
            post_json("https://x/api", "{}", LIMIT).unwrap_err().to_string(),
            "not an http:// address"
        );
        assert_eq!(get("ftp://x", LIMIT).unwrap_err().to_string(), "not an http:// address");
        assert_eq!(get("no address", LIMIT).unwrap_err().to_string(), "not an address");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        drop(listener);
        assert!(get(&url, LIMIT).unwrap_err().to_string().contains("refused"));
    }
}
