//! What the service's API model (version 2010-08-01) says about members and errors, for those protocols that do
//! not say it themselves.

use crate::query::Kind;

/// The namespace of XML answers.
pub(super) const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";

/// What a member of a request or an answer is.
pub(super) fn kind(parent: &str, name: &str) -> Kind {
    match name {
        "Period" | "EvaluationPeriods" | "DatapointsToAlarm" | "MaxRecords" | "MaxDatapoints"
        | "StorageResolution" => Kind::Whole,
        // A dimension and a tag have a Value too.
        "Value" if parent != "MetricData" => Kind::Text,
        "Value" | "Values" | "Counts" | "SampleCount" | "Average" | "Sum" | "Minimum" | "Maximum"
        | "Threshold" => Kind::Decimal,
        "ActionsEnabled" | "ReturnData" | "IncludeLinkedAccounts" | "StrictEntityValidation" => Kind::Flag,
        "Timestamp"
        | "Timestamps"
        | "StartTime"
        | "EndTime"
        | "StartDate"
        | "EndDate"
        | "StateUpdatedTimestamp"
        | "StateTransitionedTimestamp"
        | "AlarmConfigurationUpdatedTimestamp" => Kind::Time,
        "AlarmActions"
        | "AlarmNames"
        | "AlarmTypes"
        | "Dimensions"
        | "InsufficientDataActions"
        | "MetricData"
        | "MetricDataQueries"
        | "Metrics"
        | "OKActions"
        | "Statistics"
        | "Tags" => Kind::List,
        // A list in a request, a map in a data point.
        "ExtendedStatistics" => Kind::Map,
        _ => Kind::Text,
    }
}

/// The code of an error in the Query protocol, which clients of the other two are told as well (the model's
/// trait `awsQueryCompatible`): older scripts look for it.
pub(super) fn query_code(code: &'static str) -> &'static str {
    match code {
        "InternalServiceFault" => "InternalServiceError",
        "InvalidFormatFault" => "InvalidFormat",
        "InvalidParameterCombinationException" => "InvalidParameterCombination",
        "InvalidParameterValueException" => "InvalidParameterValue",
        "LimitExceededFault" => "LimitExceeded",
        "MissingRequiredParameterException" => "MissingParameter",
        "ValidationException" => "ValidationError",
        "SerializationException" => "MalformedInput",
        "UnknownOperationException" => "InvalidAction",
        other => other,
    }
}
