//! Groups, streams and events through the operations.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{LogsState, call};
use crate::Context;

const NOW_MS: u64 = 1_767_225_600_000;

#[derive(Default)]
struct Fixture(LogsState);

impl Fixture {
    fn ask(&mut self, operation: &str, body: Value) -> Result<Value, &'static str> {
        let context = Context {
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS),
            region: "eu-west-1".into(),
            account: "000000000000".into(),
            speed: 1.0,
        };
        let body = body.as_object().expect("an object");
        call(operation, body, &mut self.0, &context).expect("a known operation").map_err(|error| error.code)
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        self.ask(operation, body.clone()).unwrap_or_else(|code| panic!("{operation} {body}: {code}"))
    }

    /// With a group `g` and a stream `s`.
    fn new() -> Fixture {
        let mut fixture = Fixture::default();
        fixture.ok("CreateLogGroup", json!({ "logGroupName": "g" }));
        fixture.ok("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "s" }));
        fixture
    }

    fn put(&mut self, stream: &str, events: &[(u64, &str)]) -> Result<Value, &'static str> {
        let events: Vec<Value> =
            events.iter().map(|(at, message)| json!({ "timestamp": at, "message": message })).collect();
        self.ask("PutLogEvents", json!({ "logGroupName": "g", "logStreamName": stream, "logEvents": events }))
    }
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[test]
fn groups_are_made_told_and_deleted() {
    let mut fixture = Fixture::default();
    fixture.ok("CreateLogGroup", json!({ "logGroupName": "/aws/fis", "tags": { "a": "b" } }));
    fixture.ok("CreateLogGroup", json!({ "logGroupName": "other" }));
    let create = |body| ("CreateLogGroup", body);
    for ((operation, body), code) in [
        (create(json!({ "logGroupName": "other" })), "ResourceAlreadyExistsException"),
        (create(json!({ "logGroupName": "a b" })), "InvalidParameterException"),
        (create(json!({})), "InvalidParameterException"),
        (create(json!({ "logGroupName": "x", "tags": { "a": 1 } })), "InvalidParameterException"),
        (create(json!({ "logGroupName": "x", "logGroupClass": "GOLD" })), "InvalidParameterException"),
        (("DeleteLogGroup", json!({ "logGroupName": "no" })), "ResourceNotFoundException"),
        (
            ("PutRetentionPolicy", json!({ "logGroupName": "other", "retentionInDays": 2 })),
            "InvalidParameterException",
        ),
        (("DescribeLogGroups", json!({ "nextToken": "%" })), "InvalidParameterException"),
    ] {
        assert_eq!(fixture.ask(operation, body.clone()).unwrap_err(), code, "{operation} {body}");
    }
    fixture.ok("PutRetentionPolicy", json!({ "logGroupName": "other", "retentionInDays": 7 }));
    let told = fixture.ok("DescribeLogGroups", json!({ "logGroupNamePrefix": "oth" }));
    assert_eq!(told["logGroups"].as_array().unwrap().len(), 1);
    assert_eq!(told["logGroups"][0]["retentionInDays"], 7);
    assert_eq!(told["logGroups"][0]["arn"], "arn:aws:logs:eu-west-1:000000000000:log-group:other:*");
    fixture.ok("DeleteRetentionPolicy", json!({ "logGroupName": "other" }));
    let told = fixture.ok("DescribeLogGroups", json!({ "logGroupNamePattern": "THER" }));
    assert_eq!(told["logGroups"][0].get("retentionInDays"), None);
    let first = fixture.ok("DescribeLogGroups", json!({ "limit": 1 }));
    assert_eq!(first["logGroups"][0]["logGroupName"], "/aws/fis");
    let second = fixture.ok("DescribeLogGroups", json!({ "limit": 1, "nextToken": first["nextToken"] }));
    assert_eq!(second["logGroups"][0]["logGroupName"], "other");
    fixture.ok("DeleteLogGroup", json!({ "logGroupName": "other" }));
    let kept = json!({ "logGroupName": "kept", "deletionProtectionEnabled": true });
    fixture.ok("CreateLogGroup", kept.clone());
    assert_eq!(fixture.ask("DeleteLogGroup", kept).unwrap_err(), "ValidationException");
    let told = fixture.ok("DescribeLogGroups", json!({ "logGroupNamePrefix": "kept" }));
    assert_eq!(told["logGroups"][0]["deletionProtectionEnabled"], true);
    let arn = told["logGroups"][0]["logGroupArn"].clone();
    let off = json!({ "logGroupIdentifier": arn, "deletionProtectionEnabled": false });
    fixture.ok("PutLogGroupDeletionProtection", off);
    fixture.ok("DeleteLogGroup", json!({ "logGroupName": "kept" }));
    assert_eq!(fixture.ok("DescribeLogGroups", json!({}))["logGroups"].as_array().unwrap().len(), 1);
}

#[test]
fn late_events_take_their_places_in_time() {
    let mut fixture = Fixture::new();
    fixture.put("s", &[(NOW_MS + 1, "third"), (NOW_MS + 9, "last")]).unwrap();
    fixture.put("s", &[(NOW_MS, "first"), (NOW_MS, "second"), (NOW_MS + 1, "fourth")]).unwrap();
    let all = fixture.ok("GetLogEvents", json!({ "logGroupName": "g", "logStreamName": "s" }));
    assert_eq!(messages(&all), ["first", "second", "third", "fourth", "last"]);
}

#[test]
fn streams_are_told_by_name_or_by_their_last_event() {
    let mut fixture = Fixture::new();
    fixture.ok("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "a" }));
    let again = json!({ "logGroupName": "g", "logStreamName": "a" });
    assert_eq!(fixture.ask("CreateLogStream", again).unwrap_err(), "ResourceAlreadyExistsException");
    let colon = json!({ "logGroupName": "g", "logStreamName": "a:b" });
    assert_eq!(fixture.ask("CreateLogStream", colon).unwrap_err(), "InvalidParameterException");
    fixture.put("a", &[(NOW_MS, "x")]).unwrap();
    let names = |answer: Value| -> Vec<String> {
        let streams = answer["logStreams"].as_array().unwrap().clone();
        streams.iter().map(|stream| stream["logStreamName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(fixture.ok("DescribeLogStreams", json!({ "logGroupName": "g" }))), ["a", "s"]);
    let by_time = json!({ "logGroupName": "g", "orderBy": "LastEventTime" });
    assert_eq!(names(fixture.ok("DescribeLogStreams", by_time)), ["s", "a"]);
    let arn = "arn:aws:logs:eu-west-1:000000000000:log-group:g";
    let told =
        fixture.ok("DescribeLogStreams", json!({ "logGroupIdentifier": arn, "logStreamNamePrefix": "a" }));
    assert_eq!(told["logStreams"][0]["lastEventTimestamp"], NOW_MS);
    assert_eq!(fixture.ask("DescribeLogStreams", json!({})).unwrap_err(), "InvalidParameterException");
    fixture.ok("DeleteLogStream", json!({ "logGroupName": "g", "logStreamName": "a" }));
    assert_eq!(names(fixture.ok("DescribeLogStreams", json!({ "logGroupName": "g" }))), ["s"]);
}

#[test]
fn events_are_read_forward_and_backward() {
    let mut fixture = Fixture::new();
    fixture.put("s", &[(NOW_MS, "1"), (NOW_MS + 1, "2"), (NOW_MS + 2, "3")]).unwrap();
    fixture.put("s", &[(NOW_MS - 1, "0")]).unwrap();
    let mut get = |more: Value| {
        let mut body = json!({ "logGroupName": "g", "logStreamName": "s", "limit": 3 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fixture.ok("GetLogEvents", body)
    };
    let last = get(json!({}));
    assert_eq!(messages(&last), ["1", "2", "3"], "the newest ones, oldest first");
    let end = get(json!({ "nextToken": last["nextForwardToken"] }));
    assert_eq!((messages(&end).len(), &end["nextForwardToken"]), (0, &last["nextForwardToken"]));
    assert_eq!(messages(&get(json!({ "nextToken": last["nextBackwardToken"] }))), ["0"]);
    let head = get(json!({ "startFromHead": true }));
    assert_eq!(messages(&head), ["0", "1", "2"]);
    assert_eq!(messages(&get(json!({ "nextToken": head["nextForwardToken"] }))), ["3"]);
    let span = json!({ "startTime": NOW_MS, "endTime": NOW_MS + 1 });
    assert_eq!(messages(&get(span)), ["1"]);
    let wrong = json!({ "logGroupName": "g", "logStreamName": "s", "nextToken": "x/1" });
    assert_eq!(fixture.ask("GetLogEvents", wrong).unwrap_err(), "InvalidParameterException");
    let none = json!({ "logGroupName": "g", "logStreamName": "no" });
    assert_eq!(fixture.ask("GetLogEvents", none).unwrap_err(), "ResourceNotFoundException");
}

#[test]
fn events_out_of_order_are_refused_and_old_ones_rejected() {
    const DAY: u64 = 86_400_000;
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.put("s", &[(NOW_MS, "b"), (NOW_MS - 1, "a")]).unwrap_err(),
        "InvalidParameterException"
    );
    assert_eq!(
        fixture.put("s", &[(NOW_MS - DAY - 1, "a"), (NOW_MS, "b")]).unwrap_err(),
        "InvalidParameterException"
    );
    assert_eq!(fixture.put("s", &[]).unwrap_err(), "InvalidParameterException");
    let large = "x".repeat(1_048_576);
    assert_eq!(fixture.put("s", &[(NOW_MS, &large)]).unwrap_err(), "InvalidParameterException");
    assert_eq!(fixture.put("no", &[(NOW_MS, "a")]).unwrap_err(), "ResourceNotFoundException");
    let answer = fixture.put("s", &[(NOW_MS - 14 * DAY - 1, "old"), (NOW_MS - 14 * DAY, "new")]).unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({ "tooOldLogEventEndIndex": 1 }));
    let answer = fixture.put("s", &[(NOW_MS, "now"), (NOW_MS + 7_200_001, "future")]).unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({ "tooNewLogEventStartIndex": 1 }));
    fixture.ok("PutRetentionPolicy", json!({ "logGroupName": "g", "retentionInDays": 1 }));
    let answer = fixture.put("s", &[(NOW_MS - DAY - 1, "gone"), (NOW_MS - 2, "kept")]).unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({ "expiredLogEventEndIndex": 1 }));
    let read = fixture.ok("GetLogEvents", json!({ "logGroupName": "g", "logStreamName": "s" }));
    assert_eq!(messages(&read), ["new", "kept", "now"]);
}

#[test]
fn events_are_filtered_over_streams_in_pages() {
    let mut fixture = Fixture::new();
    fixture.ok("CreateLogStream", json!({ "logGroupName": "g", "logStreamName": "t" }));
    fixture.put("s", &[(NOW_MS, "error one"), (NOW_MS + 2, "error three")]).unwrap();
    fixture.put("t", &[(NOW_MS + 1, "error two"), (NOW_MS + 3, "fine")]).unwrap();
    let mut filter = |more: Value| {
        let mut body = json!({ "logGroupName": "g" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fixture.ok("FilterLogEvents", body)
    };
    let first = filter(json!({ "filterPattern": "error", "limit": 2 }));
    assert_eq!(messages(&first), ["error one", "error two"]);
    let second = filter(json!({ "filterPattern": "error", "limit": 2, "nextToken": first["nextToken"] }));
    assert_eq!((messages(&second), second.get("nextToken")), (vec!["error three"], None));
    assert_eq!(messages(&filter(json!({ "logStreamNames": ["t"] }))), ["error two", "fine"]);
    assert_eq!(
        messages(&filter(json!({ "logStreamNamePrefix": "s", "startTime": NOW_MS + 1 }))),
        ["error three"]
    );
    let missing = json!({ "logGroupName": "g", "logStreamNames": ["no"] });
    assert_eq!(fixture.ask("FilterLogEvents", missing).unwrap_err(), "ResourceNotFoundException");
}

#[test]
fn an_experiment_logs_to_a_group_that_is_there() {
    let mut fixture = Fixture::new();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS);
    let logs = &mut fixture.0;
    assert!(logs.put("g", "/aws/fis/EXP1", at, "one".into()));
    assert!(logs.put("arn:aws:logs:eu-west-1:0:log-group:g:*", "/aws/fis/EXP1", at, "two".into()));
    assert!(logs.put("arn:aws:logs:eu-west-1:0:log-group:g", "/aws/fis/EXP1", at, "three".into()));
    assert!(!logs.put("no", "/aws/fis/EXP1", at, "four".into()));
    let read = fixture.ok("GetLogEvents", json!({ "logGroupName": "g", "logStreamName": "/aws/fis/EXP1" }));
    assert_eq!(messages(&read), ["one", "two", "three"]);
}
