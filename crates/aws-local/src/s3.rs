//! S3, as far as agents put the output of commands there: PutObject and GetObject at path-style addresses, with objects
//! as files in a folder. A bucket is a folder in it, and must be there.

use std::path::{Path, PathBuf};

use http::Method;
use http::request::Parts;

use super::caller;
use super::error::ApiError;
use super::shared::Shared;
use super::signature::Authorization;
use super::wire::{self, Answer};
use super::xml::{document, element};

/// Characters of a key, all segments together (S3 user guide, "Object key names").
const LONGEST_KEY: usize = 1024;
/// No file name is longer; S3 itself has no such limit.
const LONGEST_SEGMENT: usize = 255;

/// Answers a request that is signed for S3; None if it is for another service.
pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Option<Answer> {
    let authorization = Authorization::parse(parts).ok()?;
    if authorization.service != "s3" {
        return None;
    }
    let outcome = act(shared, parts, body);
    let what = format!("S3 {} {}", parts.method, parts.uri.path());
    Some(match outcome {
        Ok((who, content)) => {
            tracing::info!(who, what, outcome = "ok");
            wire::answer(200, "binary/octet-stream", content)
        }
        Err(error) => {
            tracing::info!(who = "?", what, outcome = error.code);
            refused(&error)
        }
    })
}

fn act(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<(String, Vec<u8>), ApiError> {
    let client = caller::client(shared, parts, body, "s3")?;
    let path = parts.uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let decoded = |text: &str| String::from_utf8_lossy(&wire::percent_decoded(text)).into_owned();
    let (bucket, key) = (decoded(bucket), decoded(key));
    let file = place(shared.s3_folder.as_deref(), &bucket, &key)?;
    let failed =
        |error: std::io::Error| ApiError::new("InternalError", format!("{}: {error}", file.display()));
    match parts.method {
        Method::PUT => {
            let folder = file.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, body)).map_err(failed)?;
            Ok((client.name, Vec::new()))
        }
        Method::GET => match std::fs::read(&file) {
            Ok(content) => Ok((client.name, content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ApiError::new("NoSuchKey", "The specified key does not exist."))
            }
            Err(error) => Err(failed(error)),
        },
        _ => Err(ApiError::new(
            "NotImplemented",
            "only PutObject and GetObject are here, at path-style addresses",
        )),
    }
}

/// The file of an object.
fn place(root: Option<&Path>, bucket: &str, key: &str) -> Result<PathBuf, ApiError> {
    let root = root.ok_or_else(|| {
        ApiError::new("NoSuchBucket", "there is no bucket here: start taskfault-local with --s3 FOLDER")
    })?;
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(in_name) || bucket.starts_with('.') {
        return Err(ApiError::new("InvalidBucketName", "The specified bucket is not valid."));
    }
    let folder = root.join(bucket);
    if !folder.is_dir() {
        let message = format!("The specified bucket does not exist; make the folder {}", folder.display());
        return Err(ApiError::new("NoSuchBucket", message));
    }
    if key.is_empty() {
        return Err(ApiError::new("NotImplemented", "only objects are here"));
    }
    // A key is any text; a file's name is not, and none may lead out of the folder.
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..") && part.len() <= LONGEST_SEGMENT && !part.contains('\0')
    };
    if key.len() > LONGEST_KEY || !key.split('/').all(is_name) {
        return Err(ApiError::new("InvalidArgument", "this key cannot be a file"));
    }
    Ok(folder.join(key))
}

fn refused(error: &ApiError) -> Answer {
    let status = match error.code {
        "NoSuchBucket" | "NoSuchKey" => 404,
        "NotImplemented" => 501,
        "InternalError" => 500,
        "InvalidBucketName" | "InvalidArgument" => 400,
        _ => 403,
    };
    let text = document("Error", None, |xml| {
        element(xml, "Code", error.code)?;
        element(xml, "Message", &error.message)
    });
    wire::answer(status, "application/xml", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_its_bucket() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        let place =
            |bucket: &str, key: &str| place(Some(root.path()), bucket, key).map_err(|error| error.code);
        assert_eq!(place("bucket", "a/b c"), Ok(root.path().join("bucket/a/b c")));
        for key in ["../x", "a/../../x", "/x", "a//b", ".", "a\0b", &"k".repeat(300)] {
            assert_eq!(place("bucket", key), Err("InvalidArgument"), "{key}");
        }
        for bucket in ["..", "a", "UPPER", "a/b", ""] {
            assert_eq!(place(bucket, "k"), Err("InvalidBucketName"), "{bucket}");
        }
        assert_eq!(place("other", "k"), Err("NoSuchBucket"));
        assert_eq!(super::place(None, "bucket", "k").unwrap_err().code, "NoSuchBucket");
    }
}
