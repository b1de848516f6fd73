//! The admin commands, over the native API.

mod client;

use anyhow::bail;
use berth_proto::v1;
use client::client;
use serde_json::{Value, json};

use crate::cli::ClientArgs;
use crate::output;

/// `berth sessions`
pub(crate) async fn sessions(args: &ClientArgs) -> anyhow::Result<()> {
    let mut client = client(args).await?;
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSessionsRequest {
            page_token,
            ..Default::default()
        };
        let reply = client.list_sessions(request).await?.into_inner();
        rows.extend(reply.sessions.into_iter().map(session_row));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let columns = [
        "id", "state", "owner", "tenant", "dialect", "epoch", "node", "driver",
    ];
    Ok(output::rows(args.output, &columns, &rows)?)
}

fn session_row(session: v1::Session) -> Value {
    json!({
        "id": session.id, "state": session.state, "owner": session.owner, "tenant": session.tenant,
        "dialect": session.dialect, "epoch": session.epoch, "node": session.node, "driver": session.driver,
        "client_id": session.client_id,
    })
}

/// `berth watch`: changes from now on, until the broker or the user ends it.
pub(crate) async fn watch(args: &ClientArgs) -> anyhow::Result<()> {
    let mut events = client(args)
        .await?
        .watch_events(v1::WatchEventsRequest {})
        .await?
        .into_inner();
    while let Some(event) = events.message().await? {
        let Some(session) = event.session else { continue };
        let what = session.history.last().map(|last| last.what.clone());
        let mut row = session_row(session);
        row["what"] = what.into();
        output::line(
            args.output,
            &["state", "epoch", "id", "owner", "node", "what"],
            &row,
        )?;
    }
    bail!("the broker has ended the watch; start it again, here or at another broker")
}

/// `berth nodes`
pub(crate) async fn nodes(args: &ClientArgs) -> anyhow::Result<()> {
    let reply = client(args)
        .await?
        .list_nodes(v1::ListNodesRequest {})
        .await?
        .into_inner();
    let rows = reply.nodes.into_iter().map(|node| {
        json!({
            "id": node.id, "state": node.state, "address": node.address, "drivers": node.drivers, "warm": node.warm,
            "sessions": node.sessions, "reserved_mib": node.memory_reserved_bytes >> 20,
            "capacity_mib": node.memory_capacity_bytes >> 20, "version": node.version,
        })
    });
    let rows: Vec<_> = rows.collect();
    let columns = [
        "id",
        "state",
        "address",
        "drivers",
        "warm",
        "sessions",
        "reserved_mib",
        "capacity_mib",
        "version",
    ];
    Ok(output::rows(args.output, &columns, &rows)?)
}

/// `berth drivers`
pub(crate) async fn drivers(args: &ClientArgs) -> anyhow::Result<()> {
    let reply = client(args)
        .await?
        .list_drivers(v1::ListDriversRequest {})
        .await?
        .into_inner();
    let rows = reply.drivers.into_iter().map(|driver| {
        json!({
            "id": driver.id, "node": driver.node, "state": driver.state, "profile": driver.profile, "pid": driver.pid,
            "jvm_pid": driver.jvm_pid, "memory_mib": driver.memory_bytes >> 20, "sessions": driver.sessions,
            "spark": driver.spark_version, "log": driver.log_path,
        })
    });
    let columns = [
        "id",
        "node",
        "state",
        "profile",
        "pid",
        "jvm_pid",
        "memory_mib",
        "spark",
        "sessions",
    ];
    Ok(output::rows(args.output, &columns, &rows.collect::<Vec<_>>())?)
}

/// `berth brokers`
pub(crate) async fn brokers(args: &ClientArgs) -> anyhow::Result<()> {
    let reply = client(args)
        .await?
        .list_brokers(v1::ListBrokersRequest {})
        .await?
        .into_inner();
    let rows = reply
        .brokers
        .into_iter()
        .map(|broker| {
            json!({
                "id": broker.id, "leader": broker.leader, "admin": broker.admin_address, "version": broker.version,
            })
        });
    Ok(output::rows(
        args.output,
        &["id", "leader", "admin", "version"],
        &rows.collect::<Vec<_>>(),
    )?)
}

/// `berth explain`
pub(crate) async fn explain(args: &ClientArgs, id: String) -> anyhow::Result<()> {
    let reply = client(args)
        .await?
        .explain_session(v1::ExplainSessionRequest { id })
        .await?
        .into_inner();
    let reasons = reply
        .reasons
        .into_iter()
        .map(|reason| json!({ "kind": "history", "what": reason, "outcome": "" }));
    let lineage = reply.lineage.into_iter().map(|line| {
        json!({ "kind": line.class, "what": format!("{} {}", line.seq, line.what), "outcome": line.outcome })
    });
    let rows: Vec<_> = reasons.chain(lineage).collect();
    Ok(output::rows(args.output, &["kind", "what", "outcome"], &rows)?)
}

/// `berth close`
pub(crate) async fn close(args: &ClientArgs, id: String) -> anyhow::Result<()> {
    client(args)
        .await?
        .close_session(v1::CloseSessionRequest { id })
        .await?;
    Ok(())
}

/// `berth drain`
pub(crate) async fn drain(args: &ClientArgs, id: String, undo: bool) -> anyhow::Result<()> {
    let reply = client(args)
        .await?
        .drain_node(v1::DrainNodeRequest { id: id.clone(), undo })
        .await?
        .into_inner();
    let rows = [json!({ "node": id, "sessions": reply.sessions })];
    Ok(output::rows(args.output, &["node", "sessions"], &rows)?)
}
