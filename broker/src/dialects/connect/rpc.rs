//! The calls of `spark.connect.SparkConnectService` and the field numbers that Berth reads or writes in each.

use http::uri::PathAndQuery;

/// The service's full name, the first segment of every path.
pub(crate) const SERVICE: &str = "spark.connect.SparkConnectService";

/// `session_id` of every request.
pub(crate) const SESSION_ID: u32 = 1;
/// `user_context` of every request.
pub(crate) const USER_CONTEXT: u32 = 2;
/// `UserContext.user_id`.
pub(crate) const USER_ID: u32 = 1;

/// A call of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rpc {
    ExecutePlan,
    AnalyzePlan,
    Config,
    AddArtifacts,
    ArtifactStatus,
    Interrupt,
    ReattachExecute,
    ReleaseExecute,
    ReleaseSession,
    FetchErrorDetails,
    CloneSession,
    GetStatus,
}

/// Where a call keeps the ids that Berth translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `client_observed_server_side_session_id` of the request.
    pub(crate) observed: Option<u32>,
    /// `session_id` of the response.
    pub(crate) session_id: u32,
    /// `server_side_session_id` of the response.
    pub(crate) server_session_id: u32,
}

impl Rpc {
    const ALL: [Rpc; 12] = [
        Self::ExecutePlan,
        Self::AnalyzePlan,
        Self::Config,
        Self::AddArtifacts,
        Self::ArtifactStatus,
        Self::Interrupt,
        Self::ReattachExecute,
        Self::ReleaseExecute,
        Self::ReleaseSession,
        Self::FetchErrorDetails,
        Self::CloneSession,
        Self::GetStatus,
    ];

    /// The call with this method name.
    pub(crate) fn from_name(name: &str) -> Option<Rpc> {
        Self::ALL.into_iter().find(|rpc| rpc.name() == name)
    }

    /// The method name; also the metric label.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ExecutePlan => "ExecutePlan",
            Self::AnalyzePlan => "AnalyzePlan",
            Self::Config => "Config",
            Self::AddArtifacts => "AddArtifacts",
            Self::ArtifactStatus => "ArtifactStatus",
            Self::Interrupt => "Interrupt",
            Self::ReattachExecute => "ReattachExecute",
            Self::ReleaseExecute => "ReleaseExecute",
            Self::ReleaseSession => "ReleaseSession",
            Self::FetchErrorDetails => "FetchErrorDetails",
            Self::CloneSession => "CloneSession",
            Self::GetStatus => "GetStatus",
        }
    }

    /// The HTTP/2 path.
    pub(crate) fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::ExecutePlan => "/spark.connect.SparkConnectService/ExecutePlan",
            Self::AnalyzePlan => "/spark.connect.SparkConnectService/AnalyzePlan",
            Self::Config => "/spark.connect.SparkConnectService/Config",
            Self::AddArtifacts => "/spark.connect.SparkConnectService/AddArtifacts",
            Self::ArtifactStatus => "/spark.connect.SparkConnectService/ArtifactStatus",
            Self::Interrupt => "/spark.connect.SparkConnectService/Interrupt",
            Self::ReattachExecute => "/spark.connect.SparkConnectService/ReattachExecute",
            Self::ReleaseExecute => "/spark.connect.SparkConnectService/ReleaseExecute",
            Self::ReleaseSession => "/spark.connect.SparkConnectService/ReleaseSession",
            Self::FetchErrorDetails => "/spark.connect.SparkConnectService/FetchErrorDetails",
            Self::CloneSession => "/spark.connect.SparkConnectService/CloneSession",
            Self::GetStatus => "/spark.connect.SparkConnectService/GetStatus",
        })
    }

    /// Where this call keeps its ids.
    pub(crate) const fn layout(self) -> Layout {
        let (observed, session_id, server_session_id) = match self {
            Self::ExecutePlan => (Some(8), 1, 15),
            Self::AnalyzePlan => (Some(17), 1, 15),
            Self::Config => (Some(8), 1, 4),
            Self::AddArtifacts => (Some(7), 2, 3),
            Self::ArtifactStatus => (Some(5), 2, 3),
            Self::Interrupt => (Some(7), 1, 3),
            Self::ReattachExecute => (Some(6), 1, 15),
            Self::ReleaseExecute => (Some(7), 1, 3),
            Self::ReleaseSession => (None, 1, 2),
            Self::FetchErrorDetails => (Some(5), 4, 3),
            Self::CloneSession => (Some(5), 1, 2),
            Self::GetStatus => (Some(4), 1, 2),
        };
        Layout {
            observed,
            session_id,
            server_session_id,
        }
    }
}

/// Fields of `ExecutePlanRequest` and `ReattachExecuteRequest`.
pub(crate) mod execute {
    /// `ExecutePlanRequest.plan`.
    pub(crate) const PLAN: u32 = 3;
    /// `ExecutePlanRequest.request_options`, repeated.
    pub(crate) const REQUEST_OPTIONS: u32 = 5;
    /// `RequestOption.reattach_options`.
    pub(crate) const REATTACH_OPTIONS: u32 = 1;
    /// `ReattachOptions.reattachable`.
    pub(crate) const REATTACHABLE: u32 = 1;
    /// `ExecutePlanRequest.operation_id`.
    pub(crate) const OPERATION_ID: u32 = 6;
    /// `ExecutePlanRequest.tags`, repeated.
    pub(crate) const TAGS: u32 = 7;
    /// `operation_id` of `ReattachExecuteRequest` and `ReleaseExecuteRequest`.
    pub(crate) const REATTACH_OPERATION_ID: u32 = 3;
    /// `ReattachExecuteRequest.last_response_id`.
    pub(crate) const LAST_RESPONSE_ID: u32 = 5;
    /// `ReleaseExecuteRequest.release_all`.
    pub(crate) const RELEASE_ALL: u32 = 5;
    /// `ReleaseExecuteRequest.release_until`.
    pub(crate) const RELEASE_UNTIL: u32 = 6;
    /// `ReleaseUntil.response_id`.
    pub(crate) const UNTIL_RESPONSE_ID: u32 = 1;
}

/// Fields of `ExecutePlanResponse`.
pub(crate) mod answer {
    /// `arrow_batch`.
    pub(crate) const ARROW_BATCH: u32 = 2;
    /// `schema`.
    pub(crate) const SCHEMA: u32 = 7;
    /// `streaming_query_listener_events_result`.
    pub(crate) const LISTENER_EVENTS: u32 = 16;
    /// `operation_id`.
    pub(crate) const OPERATION_ID: u32 = 12;
    /// `response_id`.
    pub(crate) const RESPONSE_ID: u32 = 13;
    /// `result_complete`.
    pub(crate) const RESULT_COMPLETE: u32 = 14;
    /// `execution_progress`.
    pub(crate) const PROGRESS: u32 = 18;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_agree() {
        for rpc in Rpc::ALL {
            assert_eq!(rpc.path().path(), format!("/{SERVICE}/{}", rpc.name()));
            assert_eq!(Rpc::from_name(rpc.name()), Some(rpc));
        }
    }
}
