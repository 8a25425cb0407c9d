//! Alarms and metrics through the operations, with a clock that only moves when told.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{AlarmState, CloudWatchState, advance, call, query};
use crate::Context;
use crate::error::ApiError;

struct Fixture {
    state: CloudWatchState,
    context: Context,
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

impl Fixture {
    /// 2026-01-01 00:00:00 UTC.
    fn new() -> Fixture {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let context = Context { now, region: "eu-west-1".into(), account: "000000000000".into(), speed: 1.0 };
        Fixture { state: CloudWatchState::default(), context }
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        let answer = call(operation, &object(body), &mut self.state, &self.context);
        answer.expect("a known operation").unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    fn error(&mut self, operation: &str, body: Value) -> ApiError {
        let answer = call(operation, &object(body), &mut self.state, &self.context);
        answer.expect("a known operation").expect_err(operation)
    }

    fn refused(&mut self, operation: &str, body: Value) -> &'static str {
        self.error(operation, body).code
    }

    /// Moves the clock, in milliseconds, and lets the tick see it.
    fn pass(&mut self, milliseconds: u64) {
        self.context.now += Duration::from_millis(milliseconds);
        advance(&mut self.state, &self.context);
    }

    /// An alarm on the sum of `N/Errors` being above 5, changed by `changes`.
    fn alarm(&mut self, changes: Value) {
        let mut body = json!({
            "AlarmName": "errors", "Namespace": "N", "MetricName": "Errors", "Statistic": "Sum", "Period": 60,
            "EvaluationPeriods": 1, "Threshold": 5, "ComparisonOperator": "GreaterThanThreshold",
        });
        body.as_object_mut().unwrap().extend(object(changes));
        self.ok("PutMetricAlarm", body);
    }

    fn put(&mut self, value: f64) {
        let data = json!([{ "MetricName": "Errors", "Value": value, "StorageResolution": 1 }]);
        self.ok("PutMetricData", json!({ "Namespace": "N", "MetricData": data }));
    }

    fn errors(&self) -> &super::alarm::Alarm {
        &self.state.alarms["errors"]
    }
}

#[test]
fn an_alarm_follows_its_metric() {
    let mut fixture = Fixture::new();
    fixture.alarm(json!({ "TreatMissingData": "notBreaching" }));
    let arn = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:errors";
    assert_eq!(fixture.state.alarm(arn).map(|alarm| alarm.state), Some(AlarmState::InsufficientData));
    assert!(fixture.state.alarm("arn:aws:cloudwatch:eu-west-1:0:alarm:x").is_none());
    fixture.pass(0);
    assert_eq!(fixture.errors().state, AlarmState::Ok);
    fixture.pass(1000);
    fixture.put(3.0);
    fixture.put(4.0);
    fixture.pass(58_000);
    assert_eq!(fixture.errors().state, AlarmState::Ok, "the minute is not over");
    fixture.pass(1000);
    assert_eq!(fixture.errors().state, AlarmState::Alarm);
    assert!(
        fixture.errors().reason.starts_with(
            "Threshold Crossed: 1 out of the last 1 datapoints [7.0 (01/01/26 00:00:00)] was greater than the \
             threshold (5.0) (minimum 1 datapoint for OK -> ALARM transition)."
        ),
        "{}",
        fixture.errors().reason
    );
    fixture.put(1.0);
    fixture.pass(60_000);
    assert_eq!(fixture.errors().state, AlarmState::Ok);
    let states: Vec<_> = fixture.errors().history.iter().map(|change| (change.from, change.to)).collect();
    use AlarmState::{Alarm, InsufficientData, Ok};
    assert_eq!(states, [(InsufficientData, Ok), (Ok, Alarm), (Alarm, Ok)]);
    let history = fixture.ok("DescribeAlarmHistory", json!({ "HistoryItemType": "StateUpdate" }));
    assert_eq!(history["AlarmHistoryItems"][1]["HistorySummary"], "Alarm updated from OK to ALARM");
}

#[test]
fn speed_shortens_periods_and_evaluations() {
    let mut fixture = Fixture::new();
    fixture.context.speed = 60.0;
    fixture.alarm(json!({
        "Statistic": "SampleCount", "Threshold": 4, "Period": 300, "EvaluationPeriods": 2,
        "TreatMissingData": "notBreaching",
    }));
    fixture.pass(0);
    for _ in 0..9 {
        fixture.put(9.0);
        fixture.pass(1000);
        assert_eq!(fixture.errors().state, AlarmState::Ok);
    }
    fixture.put(9.0);
    fixture.pass(1000);
    assert_eq!(
        fixture.errors().state,
        AlarmState::Alarm,
        "two periods of five seconds have five values each"
    );
}

#[test]
fn a_state_set_by_hand_holds_until_the_next_evaluation() {
    let mut fixture = Fixture::new();
    fixture.alarm(json!({ "TreatMissingData": "notBreaching" }));
    fixture.pass(0);
    let set = json!({ "AlarmName": "errors", "StateValue": "ALARM", "StateReason": "a test" });
    fixture.ok("SetAlarmState", set.clone());
    fixture.pass(59_000);
    assert_eq!((fixture.errors().state, fixture.errors().reason.as_str()), (AlarmState::Alarm, "a test"));
    fixture.pass(1000);
    assert_eq!(fixture.errors().state, AlarmState::Ok);
    fixture.pass(59_900);
    fixture.ok("SetAlarmState", set);
    fixture.pass(900);
    assert_eq!(fixture.errors().state, AlarmState::Alarm, "one second at least");
    fixture.pass(100);
    assert_eq!(fixture.errors().state, AlarmState::Ok);
}

#[test]
fn a_low_resolution_metric_has_one_point_a_minute() {
    let mut fixture = Fixture::new();
    fixture.alarm(json!({ "Period": 10, "TreatMissingData": "notBreaching" }));
    fixture.pass(25_000);
    let put = |resolution: u32| {
        json!({
            "Namespace": "N",
            "MetricData": [{ "MetricName": "Errors", "Value": 9, "StorageResolution": resolution }],
        })
    };
    fixture.ok("PutMetricData", put(60));
    fixture.pass(5000);
    assert_eq!(fixture.errors().state, AlarmState::Alarm, "it counts for the first ten seconds");
    fixture.pass(10_000);
    assert_eq!(fixture.errors().state, AlarmState::Ok, "which are out of the evaluation range by now");
    fixture.ok("PutMetricData", put(1));
    fixture.pass(10_000);
    assert_eq!(fixture.errors().state, AlarmState::Alarm);
}

#[test]
fn data_that_stops_is_missing() {
    for (treat, states) in [
        ("missing", [AlarmState::Ok, AlarmState::InsufficientData]),
        ("ignore", [AlarmState::Ok, AlarmState::Ok]),
        ("breaching", [AlarmState::Ok, AlarmState::Alarm]),
    ] {
        let mut fixture = Fixture::new();
        fixture.alarm(json!({ "TreatMissingData": treat }));
        fixture.put(1.0);
        fixture.pass(60_000);
        assert_eq!(fixture.errors().state, states[0], "{treat}");
        fixture.pass(120_000);
        assert_eq!(fixture.errors().state, states[0], "{treat}: two more periods are in the range");
        fixture.pass(60_000);
        assert_eq!(fixture.errors().state, states[1], "{treat}");
    }
}

#[test]
fn too_few_values_do_not_move_a_percentile_alarm_that_says_so() {
    for (low, state) in [("ignore", AlarmState::InsufficientData), ("evaluate", AlarmState::Alarm)] {
        let mut fixture = Fixture::new();
        let percentile = json!({
            "Statistic": null, "ExtendedStatistic": "p90", "EvaluateLowSampleCountPercentile": low,
        });
        fixture.alarm(percentile);
        fixture.put(9.0);
        fixture.pass(60_000);
        assert_eq!(fixture.errors().state, state, "{low}");
    }
}

#[test]
fn an_update_keeps_the_state_and_replaces_the_rest() {
    let mut fixture = Fixture::new();
    fixture.alarm(json!({ "AlarmDescription": "old", "Tags": [{ "Key": "team", "Value": "web" }] }));
    fixture.put(9.0);
    fixture.pass(60_000);
    fixture.alarm(json!({ "Threshold": 7.5, "Tags": [{ "Key": "team", "Value": "other" }] }));
    let described = fixture.ok("DescribeAlarms", json!({}));
    let alarm = &described["MetricAlarms"][0];
    assert_eq!(alarm["StateValue"], "ALARM");
    assert_eq!(alarm["Threshold"], 7.5);
    assert_eq!(alarm.get("AlarmDescription"), None);
    let tags = fixture.ok("ListTagsForResource", json!({ "ResourceARN": alarm["AlarmArn"] }));
    assert_eq!(tags, json!({ "Tags": [{ "Key": "team", "Value": "web" }] }));
    let history = fixture.ok("DescribeAlarmHistory", json!({ "HistoryItemType": "ConfigurationUpdate" }));
    let summaries: Vec<_> =
        history["AlarmHistoryItems"].as_array().unwrap().iter().map(|item| &item["HistorySummary"]).collect();
    assert_eq!(summaries, ["Alarm \"errors\" updated", "Alarm \"errors\" created"]);
}

#[test]
fn alarms_that_break_the_model_are_refused() {
    let mut fixture = Fixture::new();
    let good = json!({
        "AlarmName": "a", "Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
    });
    for (change, code) in [
        (json!({ "AlarmName": null }), "ValidationException"),
        (json!({ "AlarmName": "a".repeat(256) }), "ValidationException"),
        (json!({ "ComparisonOperator": "Above" }), "ValidationException"),
        (
            json!({ "ComparisonOperator": "GreaterThanUpperThreshold" }),
            "InvalidParameterCombinationException",
        ),
        (json!({ "Statistic": "p90" }), "ValidationException"),
        (json!({ "Statistic": null }), "ValidationException"),
        (json!({ "ExtendedStatistic": "p90" }), "ValidationException"),
        (json!({ "Statistic": null, "ExtendedStatistic": "tm90" }), "InvalidParameterValueException"),
        (json!({ "Period": 45 }), "ValidationException"),
        (json!({ "Period": 60, "EvaluationPeriods": 1441 }), "ValidationException"),
        (json!({ "Period": 3600, "EvaluationPeriods": 169 }), "ValidationException"),
        (json!({ "DatapointsToAlarm": 2 }), "ValidationException"),
        (json!({ "TreatMissingData": "bad" }), "InvalidParameterValueException"),
        (json!({ "EvaluateLowSampleCountPercentile": "no" }), "InvalidParameterValueException"),
        (json!({ "Namespace": ":N" }), "ValidationException"),
        (json!({ "Namespace": null }), "MissingRequiredParameterException"),
        (json!({ "Threshold": null }), "MissingRequiredParameterException"),
        (json!({ "Threshold": "1" }), "SerializationException"),
        (json!({ "Unit": "Apples" }), "ValidationException"),
        (json!({ "OKActions": ["a", "a", "a", "a", "a", "a"] }), "ValidationException"),
        (json!({ "Metrics": [{ "Id": "m" }] }), "ValidationException"),
        (json!({ "Metrics": [metric_query("m", "Sum", 60)] }), "InvalidParameterCombinationException"),
        (json!({ "EvaluationWindow": { "WallClockWindow": {} } }), "InvalidParameterCombinationException"),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(object(change.clone()));
        assert_eq!(fixture.refused("PutMetricAlarm", body), code, "{change}");
    }
    assert!(fixture.state.alarms.is_empty());
    fixture.ok("PutMetricAlarm", good);
}

#[test]
fn data_that_breaks_the_model_is_refused_as_a_whole() {
    let mut fixture = Fixture::new();
    let now = 1_767_225_600.0;
    for (datum, code) in [
        (json!({ "MetricName": "M" }), "MissingRequiredParameterException"),
        (json!({ "Value": 1 }), "ValidationException"),
        (json!({ "MetricName": "M", "Value": 1, "Values": [1] }), "InvalidParameterCombinationException"),
        (json!({ "MetricName": "M", "Values": [1, 2], "Counts": [1] }), "InvalidParameterValueException"),
        (json!({ "MetricName": "M", "Values": [1], "Counts": [-1] }), "InvalidParameterValueException"),
        (json!({ "MetricName": "M", "Values": vec![1; 151] }), "ValidationException"),
        (json!({ "MetricName": "M", "Value": 1e200 }), "InvalidParameterValueException"),
        (json!({ "MetricName": "M", "Value": 1, "Unit": "Apples" }), "ValidationException"),
        (json!({ "MetricName": "M", "Value": 1, "StorageResolution": 5 }), "InvalidParameterValueException"),
        (
            json!({ "MetricName": "M", "Value": 1, "Timestamp": now + 7201.0 }),
            "InvalidParameterValueException",
        ),
        (
            json!({ "MetricName": "M", "Value": 1, "Timestamp": now - 15.0 * 86_400.0 }),
            "InvalidParameterValueException",
        ),
        (json!({ "MetricName": "M", "StatisticValues": { "Sum": 1 } }), "ValidationException"),
        (
            json!({
                "MetricName": "M",
                "StatisticValues": { "SampleCount": 2, "Sum": 3, "Minimum": 2, "Maximum": 1 },
            }),
            "InvalidParameterValueException",
        ),
    ] {
        let data = json!([{ "MetricName": "Good", "Value": 1 }, datum]);
        let body = json!({ "Namespace": "N", "MetricData": data });
        assert_eq!(fixture.refused("PutMetricData", body), code, "{datum}");
    }
    assert_eq!(fixture.ok("ListMetrics", json!({}))["Metrics"], json!([]));
}

#[test]
fn values_are_read_back_as_statistics() {
    let mut fixture = Fixture::new();
    let data = json!([
        { "MetricName": "M", "Unit": "Count", "Values": [1, 3], "Counts": [3, 1] },
        { "MetricName": "M", "Unit": "Count", "Value": 8, "Timestamp": 1_767_225_540.0 },
        {
            "MetricName": "M", "Unit": "Percent", "Timestamp": 1_767_225_540.0,
            "StatisticValues": { "SampleCount": 2, "Sum": 3, "Minimum": 1, "Maximum": 2 },
        },
        { "MetricName": "M", "Dimensions": [{ "Name": "D", "Value": "1" }], "Value": 100 },
    ]);
    fixture.ok("PutMetricData", json!({ "Namespace": "N", "MetricData": data }));
    let span = json!({
        "Namespace": "N", "MetricName": "M", "StartTime": 1_767_225_500.0, "EndTime": 1_767_225_660.0,
        "Period": 60, "Statistics": ["Sum", "Average"], "ExtendedStatistics": ["p50"], "Unit": "Count",
    });
    let read = fixture.ok("GetMetricStatistics", span.clone());
    assert_eq!(
        read["Datapoints"],
        json!([
            { "Timestamp": 1_767_225_540.0, "Unit": "Count", "Sum": 8.0, "Average": 8.0,
              "ExtendedStatistics": { "p50": 8.0 } },
            { "Timestamp": 1_767_225_600.0, "Unit": "Count", "Sum": 6.0, "Average": 1.5,
              "ExtendedStatistics": { "p50": 1.0 } },
        ])
    );
    let mut any_unit = span.clone();
    any_unit["Unit"] = Value::Null;
    assert_eq!(fixture.ok("GetMetricStatistics", any_unit)["Datapoints"].as_array().unwrap().len(), 3);
    let mut long = span;
    long["StartTime"] = json!(1_767_000_000.0);
    long["Period"] = json!(1);
    assert_eq!(fixture.refused("GetMetricStatistics", long), "InvalidParameterCombinationException");
    let query = json!({
        "StartTime": 1_767_225_500.0, "EndTime": 1_767_225_660.0,
        "MetricDataQueries": [{
            "Id": "m", "MetricStat": {
                "Metric": { "Namespace": "N", "MetricName": "M", "Dimensions": [{ "Name": "D", "Value": "1" }] },
                "Period": 60, "Stat": "Maximum",
            },
        }],
    });
    let read = fixture.ok("GetMetricData", query);
    assert_eq!(read["MetricDataResults"][0]["Values"], json!([100.0]));
    assert_eq!(read["MetricDataResults"][0]["Timestamps"], json!([1_767_225_600.0]));
    assert_eq!(read.get("NextToken"), Some(&Value::Null));
    let listed = fixture.ok("ListMetrics", json!({ "Dimensions": [{ "Name": "D" }] }));
    let dimensions = json!([{ "Name": "D", "Value": "1" }]);
    let metric = json!({ "Namespace": "N", "MetricName": "M", "Dimensions": dimensions });
    assert_eq!(listed["Metrics"], json!([metric]));
}

fn metric_query(id: &str, stat: &str, period: u32) -> Value {
    let metric = json!({ "Namespace": "N", "MetricName": "metric1" });
    json!({ "Id": id, "MetricStat": { "Metric": metric, "Period": period, "Stat": stat } })
}

#[test]
fn a_thousand_years_take_no_longer_than_their_values() {
    let mut fixture = Fixture::new();
    fixture.ok(
        "PutMetricData",
        json!({ "Namespace": "N", "MetricData": [
        { "MetricName": "metric1", "Value": 1, "StorageResolution": 1 },
    ] }),
    );
    let ages = json!({
        "StartTime": 0, "EndTime": 33_000_000_000_i64, "MetricDataQueries": [metric_query("m", "Sum", 1)],
    });
    let read = fixture.ok("GetMetricData", ages);
    assert_eq!(read["MetricDataResults"][0]["Values"], json!([1.0]));
    let statistics = json!({
        "Namespace": "N", "MetricName": "metric1", "StartTime": 0, "EndTime": 33_000_000_000_i64, "Period": 1,
        "Statistics": ["Sum"],
    });
    let error = fixture.error("GetMetricStatistics", statistics);
    assert_eq!(error.code, "InvalidParameterCombinationException");
    assert_eq!(
        error.message,
        "You have requested up to 33000000000 datapoints, which exceeds the limit of 1440. You may reduce the \
         datapoints requested by increasing Period, or decreasing the time range."
    );
}

#[test]
fn data_come_in_pages() {
    let mut fixture = Fixture::new();
    let at = 1_767_225_300.0;
    let datum = |minute: u32| json!({ "MetricName": "metric1", "Value": minute, "Timestamp": at + 60.0 * f64::from(minute) });
    // In any order of time, and all in one request.
    let data: Vec<Value> = [3, 1, 4, 0, 2].map(datum).into();
    fixture.ok("PutMetricData", json!({ "Namespace": "N", "MetricData": data }));
    let mut request = json!({
        "StartTime": at, "EndTime": at + 300.0, "MaxDatapoints": 3, "ScanBy": "TimestampAscending",
        "MetricDataQueries": [metric_query("a", "Sum", 60), metric_query("b", "Sum", 300), metric_query("c", "Maximum", 60)],
    });
    let mut pages = Vec::new();
    loop {
        let answer = fixture.ok("GetMetricData", request.clone());
        let page = answer["MetricDataResults"].as_array().unwrap().iter();
        pages.push(
            page.map(|result| json!([result["Id"], result["Values"], result["StatusCode"]]))
                .collect::<Value>(),
        );
        match &answer["NextToken"] {
            Value::Null => break,
            token => request["NextToken"] = token.clone(),
        }
    }
    assert_eq!(
        pages,
        [
            json!([["a", [0.0, 1.0, 2.0], "PartialData"]]),
            json!([["a", [3.0, 4.0], "Complete"], ["b", [10.0], "Complete"], ["c", [], "PartialData"]]),
            json!([["c", [0.0, 1.0, 2.0], "PartialData"]]),
            json!([["c", [3.0, 4.0], "Complete"]]),
        ]
    );
    request["NextToken"] = json!("other");
    assert_eq!(fixture.refused("GetMetricData", request), "InvalidNextToken");
}

#[test]
fn queries_of_one_metric_are_told_apart_by_their_labels() {
    let mut fixture = Fixture::new();
    let mut labels = |queries: &[Value]| {
        let request = json!({ "StartTime": 0, "EndTime": 600, "MetricDataQueries": queries });
        let answer = fixture.ok("GetMetricData", request);
        answer["MetricDataResults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["Label"].clone())
            .collect::<Value>()
    };
    assert_eq!(labels(&[metric_query("a", "Sum", 60)]), json!(["metric1"]));
    assert_eq!(
        labels(&[metric_query("a", "Sum", 60), metric_query("b", "Average", 60)]),
        json!(["metric1 Sum", "metric1 Average"])
    );
    assert_eq!(
        labels(&[metric_query("a", "Sum", 60), metric_query("b", "Sum", 300)]),
        json!(["metric1 60", "metric1 300"])
    );
    assert_eq!(
        labels(&[metric_query("a", "Sum", 60), metric_query("b", "Average", 300)]),
        json!(["metric1 Sum 60", "metric1 Average 300"])
    );
}

#[test]
fn several_units_are_said() {
    let mut fixture = Fixture::new();
    let datum =
        |unit: &str| json!({ "MetricName": "metric1", "Value": 1, "Unit": unit, "Timestamp": 1_767_225_540 });
    fixture
        .ok("PutMetricData", json!({ "Namespace": "N", "MetricData": [datum("Count"), datum("Percent")] }));
    let mut request = json!({
        "StartTime": 1_767_225_500, "EndTime": 1_767_225_660, "MetricDataQueries": [metric_query("m", "Sum", 60)],
    });
    let result = fixture.ok("GetMetricData", request.clone())["MetricDataResults"][0].clone();
    assert_eq!((&result["Values"], &result["Messages"][0]["Code"]), (&json!([1.0]), &json!("MultipleUnits")));
    request["MetricDataQueries"][0]["MetricStat"]["Unit"] = json!("Count");
    assert_eq!(fixture.ok("GetMetricData", request)["MetricDataResults"][0].get("Messages"), None);
}

#[test]
fn alarms_are_found_deleted_and_switched() {
    let mut fixture = Fixture::new();
    for name in ["one", "other", "two words"] {
        fixture.alarm(json!({ "AlarmName": name, "AlarmActions": [format!("arn:{name}")] }));
    }
    let names = |answer: &Value| -> Vec<String> {
        let items = answer["MetricAlarms"].as_array().unwrap();
        items.iter().map(|item| item["AlarmName"].as_str().unwrap().to_owned()).collect()
    };
    for (body, found) in [
        (json!({ "AlarmNames": ["two words", "no"] }), &["two words"][..]),
        (json!({ "AlarmNamePrefix": "o" }), &["one", "other"]),
        (json!({ "StateValue": "OK" }), &[]),
        (json!({ "ActionPrefix": "arn:t" }), &["two words"]),
        (json!({ "AlarmTypes": ["CompositeAlarm"] }), &[]),
    ] {
        assert_eq!(names(&fixture.ok("DescribeAlarms", body.clone())), found, "{body}");
    }
    let first = fixture.ok("DescribeAlarms", json!({ "MaxRecords": 2 }));
    assert_eq!(names(&first), ["one", "other"]);
    let second = fixture.ok("DescribeAlarms", json!({ "MaxRecords": 2, "NextToken": first["NextToken"] }));
    assert_eq!((names(&second), &second["NextToken"]), (vec!["two words".to_owned()], &Value::Null));
    assert_eq!(fixture.refused("DescribeAlarms", json!({ "NextToken": "%" })), "InvalidNextToken");
    fixture.ok("DisableAlarmActions", json!({ "AlarmNames": ["one"] }));
    assert_eq!(fixture.ok("DescribeAlarms", json!({}))["MetricAlarms"][0]["ActionsEnabled"], false);
    fixture.ok("EnableAlarmActions", json!({ "AlarmNames": ["one"] }));
    assert_eq!(fixture.ok("DescribeAlarms", json!({}))["MetricAlarms"][0]["ActionsEnabled"], true);
    fixture.ok("DeleteAlarms", json!({ "AlarmNames": ["one", "never there"] }));
    assert_eq!(names(&fixture.ok("DescribeAlarms", json!({}))), ["other", "two words"]);
    assert_eq!(fixture.refused("DeleteAlarms", json!({ "AlarmNames": ["one"] })), "ResourceNotFound");
    let set = json!({ "AlarmName": "one", "StateValue": "OK", "StateReason": "" });
    assert_eq!(fixture.refused("SetAlarmState", set), "ResourceNotFound");
    let set = json!({ "AlarmName": "other", "StateValue": "OK", "StateReason": "", "StateReasonData": "{" });
    assert_eq!(fixture.refused("SetAlarmState", set), "InvalidFormatFault");
}

/// `DescribeAlarms` of one alarm.
fn described(fixture: &mut Fixture, name: &str) -> Value {
    let body = json!({ "AlarmNames": [name], "AlarmTypes": ["MetricAlarm", "CompositeAlarm"] });
    let answer = fixture.ok("DescribeAlarms", body);
    let all = [&answer["MetricAlarms"][0], &answer["CompositeAlarms"][0]];
    all.into_iter().find(|alarm| !alarm.is_null()).unwrap().clone()
}

/// An expression and the two metrics that it is made of.
fn ratio(expression: &str) -> Value {
    let metric = |id: &str, name: &str| {
        let metric = json!({ "Namespace": "N", "MetricName": name, "Dimensions": [] });
        let stat = json!({ "Metric": metric, "Stat": "Sum", "Period": 60 });
        json!({ "Id": id, "MetricStat": stat, "ReturnData": false })
    };
    json!([
        { "Id": "e1", "Expression": expression, "Label": "Rate", "ReturnData": true },
        metric("m1", "Errors"), metric("m2", "Requests"),
    ])
}

#[test]
fn expressions_are_data_too() {
    let mut fixture = Fixture::new();
    let at = 1_767_225_540;
    let datum =
        |name: &str, value: u32, at: u32| json!({ "MetricName": name, "Value": value, "Timestamp": at });
    let data = json!([datum("Errors", 1, at), datum("Requests", 4, at), datum("Requests", 5, at - 60)]);
    fixture.ok("PutMetricData", json!({ "Namespace": "N", "MetricData": data }));
    let ask = |fixture: &mut Fixture, queries: Value| {
        let body = json!({ "StartTime": at - 60, "EndTime": at + 60, "MetricDataQueries": queries });
        fixture.ok("GetMetricData", body)["MetricDataResults"].clone()
    };
    let told = ask(&mut fixture, ratio("100 * FILL(m1, 0) / m2"));
    let times = json!([f64::from(at), f64::from(at - 60)]);
    let expected = json!([
        { "Id": "e1", "Label": "Rate", "Timestamps": times, "Values": [25.0, 0.0], "StatusCode": "Complete" },
    ]);
    assert_eq!(told, expected);
    // An array is several results; the metrics themselves are not asked for.
    let mut queries = ratio("METRICS() * 2");
    queries[0].as_object_mut().unwrap().remove("Label");
    let told = ask(&mut fixture, queries);
    let labels: Vec<&str> = told.as_array().unwrap().iter().map(|it| it["Label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["e1 Errors", "e1 Requests"]);
    assert_eq!((&told[0]["Values"], &told[1]["Values"]), (&json!([2.0]), &json!([8.0, 10.0])));
    // A number is a line.
    assert_eq!(ask(&mut fixture, ratio("SUM(m2)"))[0]["Values"], json!([9.0, 9.0]));
}

#[test]
fn an_expression_that_cannot_be_is_refused_in_the_words_of_the_service() {
    let mut fixture = Fixture::new();
    let mut refused = |queries: Value| {
        let body = json!({ "StartTime": 0, "EndTime": 600, "MetricDataQueries": queries });
        let error = fixture.error("GetMetricData", body);
        assert_eq!(error.code, "ValidationException");
        error.message
    };
    for (expression, message) in [
        ("NONE(m1)", "Error in expression 'e1': Function 'NONE' not found"),
        ("m1 + m3", "Error in expression 'e1': Unresolved reference: m3"),
        ("e1 + 1", "Error in expression 'e1': e1 needs itself, or too many others"),
        (
            "METRICS() + METRICS()",
            "Error in expression 'e1': Unsupported operand type(s) for +: '[TimeSeries[], TimeSeries[]]'",
        ),
    ] {
        assert_eq!(refused(ratio(expression)), message);
    }
    let both =
        json!([{ "Id": "a", "Expression": "1", "MetricStat": metric_query("m", "Sum", 60)["MetricStat"] }]);
    assert!(refused(both).contains("one of MetricStat and Expression"));
    let twice = json!([metric_query("a", "Sum", 60), metric_query("a", "Sum", 60)]);
    assert!(refused(twice).contains("not unique"));
}

#[test]
fn what_would_take_too_long_is_refused() {
    let mut fixture = Fixture::new();
    let mut ask = |expression: &str| {
        // A thousand years of minutes.
        let body =
            json!({ "StartTime": 0, "EndTime": 31_557_600_000_u64, "MetricDataQueries": ratio(expression) });
        let began = std::time::Instant::now();
        let error = fixture.error("GetMetricData", body);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        error.message
    };
    assert!(ask("FILL(m1, 0)").contains("would fill"), "periods without data");
    assert!(ask("TIME_SERIES(1)").contains("would fill"));
}

#[test]
fn an_alarm_follows_an_expression() {
    let mut fixture = Fixture::new();
    let body = json!({
        "AlarmName": "errors", "Metrics": ratio("100 * FILL(m1, 0) / m2"), "EvaluationPeriods": 1, "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching",
    });
    fixture.ok("PutMetricAlarm", body.clone());
    let told = described(&mut fixture, "errors");
    assert_eq!(told["Metrics"], ratio("100 * FILL(m1, 0) / m2"));
    assert_eq!((told.get("MetricName"), told.get("Period")), (None, None));
    let put = |fixture: &mut Fixture, name: &str, value: u32| {
        let data = json!([{ "MetricName": name, "Value": value }]);
        fixture.ok("PutMetricData", json!({ "Namespace": "N", "MetricData": data }));
    };
    put(&mut fixture, "Requests", 10);
    fixture.pass(60_000);
    assert_eq!(fixture.errors().state, AlarmState::Ok);
    put(&mut fixture, "Requests", 10);
    put(&mut fixture, "Errors", 1);
    fixture.pass(60_000);
    assert_eq!(fixture.errors().state, AlarmState::Alarm);
    assert!(fixture.errors().reason.contains("[10.0 ("), "{}", fixture.errors().reason);
    for (change, part) in [
        (ratio("METRICS() * 2"), "multi time series are only allowed"),
        (json!([metric_query("a", "Sum", 60), metric_query("b", "Sum", 60)]), "Exactly one element"),
        (json!([{ "Id": "a", "Expression": "SEARCH('x', 'Sum', 60)" }]), "Function 'SEARCH' is not played"),
    ] {
        let mut body = body.clone();
        body["Metrics"] = change;
        let error = fixture.error("PutMetricAlarm", body);
        assert!(error.code == "ValidationException" && error.message.contains(part), "{error}");
    }
}

#[test]
fn a_composite_alarm_follows_others() {
    let mut fixture = Fixture::new();
    for name in ["cpu", "errors"] {
        fixture.alarm(json!({ "AlarmName": name, "TreatMissingData": "ignore" }));
    }
    let put = |name: &str, rule: &str| json!({ "AlarmName": name, "AlarmRule": rule });
    let error = fixture.error("PutCompositeAlarm", put("both", "ALARM(cpu) AND ALARM(gone)"));
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            "ValidationException",
            "Could not save the composite alarm as alarms [gone] in the alarm rule do not exist"
        )
    );
    let arn = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:errors";
    fixture.ok("PutCompositeAlarm", put("both", &format!("ALARM(\"cpu\") AND NOT OK({arn})")));
    fixture.ok("PutCompositeAlarm", put("above", "ALARM(both)"));
    fixture.pass(1000);
    let state = |fixture: &Fixture, name: &str| fixture.state.alarms[name].state;
    assert_eq!((state(&fixture, "both"), state(&fixture, "above")), (AlarmState::Ok, AlarmState::Ok));
    assert!(fixture.state.alarms["both"].reason.contains("was created and its alarm rule evaluates to OK"));
    let set = json!({ "AlarmName": "cpu", "StateValue": "ALARM", "StateReason": "by hand" });
    fixture.ok("SetAlarmState", set);
    fixture.pass(100);
    assert_eq!((state(&fixture, "both"), state(&fixture, "above")), (AlarmState::Alarm, AlarmState::Alarm));
    let told = described(&mut fixture, "both");
    let reason = told["StateReason"].as_str().unwrap();
    assert_eq!(
        reason,
        "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:cpu transitioned to ALARM at Thursday 01 January, 2026 \
         00:00:01 UTC"
    );
    let data: Value = serde_json::from_str(told["StateReasonData"].as_str().unwrap()).unwrap();
    assert_eq!(data["triggeringAlarms"][0]["state"]["value"], "ALARM");
    assert_eq!(fixture.state.shortest_delay(&fixture.state.alarms["above"], 1.0), Duration::from_secs(60));

    let history =
        fixture.ok("DescribeAlarmHistory", json!({ "AlarmTypes": ["CompositeAlarm"], "AlarmName": "both" }));
    let summaries: Vec<&str> = history["AlarmHistoryItems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["HistorySummary"].as_str().unwrap())
        .collect();
    assert_eq!(
        summaries,
        [
            "Alarm updated from OK to ALARM",
            "Alarm updated from INSUFFICIENT_DATA to OK",
            "Alarm \"both\" created"
        ]
    );
    let count = |answer: &Value, kind: &str| answer[kind].as_array().unwrap().len();
    for (body, metric, composite) in [
        (json!({}), 2, 0),
        (json!({ "AlarmTypes": ["CompositeAlarm"] }), 0, 2),
        (json!({ "ChildrenOfAlarmName": "both" }), 2, 0),
        (json!({ "ParentsOfAlarmName": "both" }), 0, 1),
        (json!({ "ParentsOfAlarmName": "cpu" }), 0, 1),
    ] {
        let answer = fixture.ok("DescribeAlarms", body.clone());
        assert_eq!(
            (count(&answer, "MetricAlarms"), count(&answer, "CompositeAlarms")),
            (metric, composite),
            "{body}"
        );
    }
    let error = fixture.error("DeleteAlarms", json!({ "AlarmNames": ["cpu"] }));
    assert_eq!(error.message, "Cannot delete cpu as there are composite alarm(s) depending on it.");
    assert_eq!(
        fixture.refused("DeleteAlarms", json!({ "AlarmNames": ["both", "above"] })),
        "ValidationException"
    );
    assert_eq!(fixture.refused("PutCompositeAlarm", put("cpu", "TRUE")), "ValidationException");
    fixture.ok("DeleteAlarms", json!({ "AlarmNames": ["above"] }));
    fixture.ok("DeleteAlarms", json!({ "AlarmNames": ["both", "cpu"] }));
}

#[test]
fn alarms_that_look_at_each_other_end_nothing() {
    let mut fixture = Fixture::new();
    fixture.ok("PutCompositeAlarm", json!({ "AlarmName": "a", "AlarmRule": "FALSE" }));
    fixture.ok("PutCompositeAlarm", json!({ "AlarmName": "b", "AlarmRule": "NOT ALARM(a)" }));
    fixture.ok("PutCompositeAlarm", json!({ "AlarmName": "a", "AlarmRule": "ALARM(b)" }));
    fixture.pass(1000);
    fixture.pass(1000);
    let alarm = &fixture.state.alarms["a"];
    assert_eq!(fixture.state.shortest_delay(alarm, 1.0), Duration::ZERO);
}

#[test]
fn the_query_protocol_says_the_same_in_xml() {
    let mut fixture = Fixture::new();
    let mut ask = |pairs: &[(&str, &str)]| {
        let form: BTreeMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        query(&form, &mut fixture.state, &fixture.context)
    };
    let (status, _) = ask(&[
        ("Action", "PutMetricAlarm"),
        ("AlarmName", "a & b"),
        ("Namespace", "N"),
        ("MetricName", "M"),
        ("Dimensions.member.1.Name", "D"),
        ("Dimensions.member.1.Value", "5"),
        ("Statistic", "Sum"),
        ("Period", "60"),
        ("EvaluationPeriods", "1"),
        ("Threshold", "2"),
        ("ComparisonOperator", "LessThanThreshold"),
    ])
    .unwrap();
    assert_eq!(status, 200);
    let (_, xml) = ask(&[("Action", "DescribeAlarms"), ("AlarmNames.member.1", "a & b")]).unwrap();
    assert!(xml.contains("<AlarmName>a &amp; b</AlarmName>"), "{xml}");
    assert!(xml.contains("<StateUpdatedTimestamp>2026-01-01T00:00:00.000Z</StateUpdatedTimestamp>"), "{xml}");
    assert!(
        xml.contains("<Dimensions><member><Name>D</Name><Value>5</Value></member></Dimensions>"),
        "{xml}"
    );
    let (status, xml) = ask(&[("Action", "SetAlarmState"), ("AlarmName", "a")]).unwrap();
    assert_eq!(status, 400);
    assert!(xml.contains("<Code>ValidationError</Code>"), "{xml}");
    let (status, xml) = ask(&[("Action", "DescribeAlarms"), ("MaxRecords", "x")]).unwrap();
    assert!(status == 400 && xml.contains("<Code>MalformedInput</Code>"), "{xml}");
    assert_eq!(ask(&[("Action", "CreateRole"), ("MaxRecords.a", "x"), ("Period", "x")]), None);
}

#[test]
fn the_state_survives_a_restart() {
    let mut fixture = Fixture::new();
    fixture.alarm(json!({ "Dimensions": [{ "Name": "D", "Value": "1" }] }));
    fixture.ok("PutCompositeAlarm", json!({ "AlarmName": "both", "AlarmRule": "ALARM(errors) OR TRUE" }));
    let math = json!({
        "AlarmName": "math", "Metrics": ratio("m1 / m2"), "EvaluationPeriods": 1, "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
    });
    fixture.ok("PutMetricAlarm", math);
    fixture.put(9.0);
    fixture.pass(60_000);
    let text = serde_json::to_string(&fixture.state).unwrap();
    let again: CloudWatchState = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!(again.alarms["errors"].history, fixture.errors().history);
}
