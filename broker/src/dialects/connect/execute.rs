//! ExecutePlan: classifies a plan, starts its task, and streams what the task puts into the outbox.

use std::io::Read as _;
use std::sync::Arc;

use berth_core::connect::{self, Classified, Standing};
use berth_core::wire;
use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::attempt::Start;
use super::delivery::Delivery;
use super::errors::{self, Handle, invalid_handle};
use super::execution::{Execution, Job};
use super::operation::Operation;
use super::outbox::Outbox;
use super::registry::{Entered, Found};
use super::rewrite::malformed;
use super::rpc::execute;
use super::session::{Call, parse_handle};
use super::stream::Answers;
use super::{Connect, rewrite};

/// Spark's own limit on a plan after decompression.
const MAX_PLAN_BYTES: u64 = 512 << 20;
/// Up to which size a plan is inflated on the task's own thread.
const INFLATE_INLINE_BYTES: usize = 64 << 10;

/// What a client asked for.
struct Request {
    id: String,
    reattachable: bool,
    fingerprint: u64,
    tags: Vec<String>,
}

impl Request {
    fn read(message: &[u8]) -> Result<Self, Status> {
        let id = wire::last_text(message, execute::OPERATION_ID).map_err(malformed)?;
        let id = match id {
            Some(id) => parse_handle(&id).map(|_| id)?,
            None => Uuid::new_v4().to_string(),
        };
        let plan = wire::last_bytes(message, execute::PLAN).map_err(malformed)?;
        let tags = wire::all_bytes(message, execute::TAGS).map_err(malformed)?;
        Ok(Self {
            id,
            reattachable: rewrite::is_reattachable(message)?,
            fingerprint: fingerprint(plan.unwrap_or_default()),
            tags: tags
                .iter()
                .map(|tag| String::from_utf8_lossy(tag).into_owned())
                .collect(),
        })
    }

    fn into_operation(self, call: &Call, connect: &Connect, standing: Standing) -> Operation {
        let outbox = Outbox::new(connect.config.outbox(self.reattachable));
        let mut operation = Operation::new(call.session, &self.id, self.reattachable, outbox);
        operation.fingerprint = Some(self.fingerprint);
        operation.tags = self.tags;
        operation.standing = standing;
        operation
    }
}

/// Hash of a plan or request, to tell a repetition from something else under the same id.
pub(crate) fn fingerprint(plan: &[u8]) -> u64 {
    xxh3_64(plan)
}

/// Executes a plan, or continues the operation if it is here already.
pub(crate) async fn execute(connect: &Arc<Connect>, call: Call) -> Result<Answers, Status> {
    let request = Request::read(&call.message)?;
    match connect.operations.find(call.session, &request.id) {
        Found::Live(operation) => return again(connect, &operation, request.fingerprint),
        Found::Gone => return Err(invalid_handle(Handle::OperationAbandoned, &request.id)),
        Found::Unknown => {}
    }
    let route = connect.route(&call).await?;
    let classified = classify(call.message.clone()).await?;
    let operation = Arc::new(request.into_operation(&call, connect, classified.standing));
    let job = Job {
        start: Start::Execute,
        reattachable: operation.reattachable,
        operation,
        route,
        request: Some(call.message.clone()),
        metadata: call.metadata.clone(),
        classified,
        ticket: None,
    };
    start(connect, job, Delivery::new(), 0)
}

/// Enters an operation into the registry, starts its task and attaches to it.
pub(crate) fn start(
    connect: &Arc<Connect>,
    job: Job,
    delivery: Delivery,
    position: u64,
) -> Result<Answers, Status> {
    let operation = Arc::clone(&job.operation);
    // First, since it may fail: what is in the registry has a task.
    let reader = operation.outbox.attach(position, "")?;
    match connect.operations.enter(&operation) {
        Entered::New => {}
        Entered::Exists(there) => {
            return again(connect, &there, operation.fingerprint.unwrap_or_default());
        }
        Entered::Gone => return Err(invalid_handle(Handle::OperationAbandoned, &operation.id)),
        Entered::Full => {
            return Err(errors::too_many_operations(
                connect.config.max_operations_per_session,
            ));
        }
    }
    let execution = Execution::new(Arc::clone(connect), job, delivery);
    connect.tasks.spawn("connect operation", execution.run());
    Ok(Answers::new(connect, operation, reader))
}

/// The same id once more: the same plan continues from its start, another one is refused.
fn again(connect: &Arc<Connect>, operation: &Arc<Operation>, fingerprint: u64) -> Result<Answers, Status> {
    if operation.fingerprint.is_some_and(|known| known != fingerprint) {
        return Err(invalid_handle(Handle::OperationAlreadyExists, &operation.id));
    }
    let reader = operation.outbox.attach(0, &operation.id)?;
    Ok(Answers::new(connect, Arc::clone(operation), reader))
}

/// Classifies the plan of a request, inflating it if it came compressed.
async fn classify(message: Bytes) -> Result<Classified, Status> {
    let Some(compressed) = connect::compressed_plan(&message).map_err(malformed)? else {
        return connect::classify_execute(&message).map_err(malformed);
    };
    if compressed.data.len() <= INFLATE_INLINE_BYTES {
        return inflate_and_classify(compressed);
    }
    let data = message.slice_ref(compressed.data);
    let is_command = compressed.is_command;
    let inflating = tokio::task::spawn_blocking(move || {
        inflate_and_classify(connect::Compressed {
            data: &data,
            is_command,
        })
    });
    let joined = inflating.await;
    joined.map_err(|error| Status::internal(format!("inflating a plan failed: {error}")))?
}

fn inflate_and_classify(compressed: connect::Compressed<'_>) -> Result<Classified, Status> {
    let broken =
        |error: std::io::Error| Status::internal(format!("the compressed plan cannot be read: {error}"));
    let decoder = zstd::stream::read::Decoder::new(compressed.data).map_err(broken)?;
    let mut plan = Vec::new();
    decoder
        .take(MAX_PLAN_BYTES + 1)
        .read_to_end(&mut plan)
        .map_err(broken)?;
    if plan.len() as u64 > MAX_PLAN_BYTES {
        return Err(errors::plan_too_large(MAX_PLAN_BYTES));
    }
    connect::classify_plan(&plan, compressed.is_command).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use berth_core::lineage::Class;

    use super::*;

    fn compressed_request(plan: &[u8], is_command: bool) -> Bytes {
        let mut operation = Vec::new();
        wire::append_bytes(&mut operation, 1, &zstd::encode_all(plan, 1).unwrap());
        wire::append_varint(&mut operation, 2, if is_command { 2 } else { 1 });
        let mut plan = Vec::new();
        wire::append_bytes(&mut plan, 3, &operation);
        let mut request = Vec::new();
        wire::append_bytes(&mut request, execute::PLAN, &plan);
        request.into()
    }

    #[tokio::test]
    async fn a_compressed_command_is_classified_like_the_plain_one() {
        // WriteOperation (command 2), empty.
        let mut command = Vec::new();
        wire::append_bytes(&mut command, 2, &[]);
        let classified = classify(compressed_request(&command, true)).await.unwrap();
        assert_eq!(classified.class, Class::Write);

        // Range (relation 15).
        let mut relation = Vec::new();
        wire::append_bytes(&mut relation, 15, &[]);
        let classified = classify(compressed_request(&relation, false)).await.unwrap();
        assert_eq!(classified.class, Class::Read);
    }

    #[tokio::test]
    async fn a_plan_that_cannot_be_inflated_is_an_error_and_not_a_read() {
        let mut operation = Vec::new();
        wire::append_bytes(&mut operation, 1, b"not zstd");
        let mut plan = Vec::new();
        wire::append_bytes(&mut plan, 3, &operation);
        let mut request = Vec::new();
        wire::append_bytes(&mut request, execute::PLAN, &plan);
        assert!(classify(request.into()).await.is_err());
    }
}
