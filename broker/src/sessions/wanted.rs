//! What a session of Livy's, or a batch, wants of the broker.

use std::path::PathBuf;

use berth_core::confs;
use berth_core::record::Work;

use crate::dialects::connect::backend::Wanted;
use crate::dialects::livy::files::{self, Given};
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::replay::Policy;

/// Conf that names the profile of a session.
const PROFILE: &str = "spark.berth.profile";

/// What is wanted, with paths only below the directories `open` of the nodes.
///
/// # Errors
/// [`Refusal::Rejected`], which says what to ask for instead.
pub(super) fn wanted(listed: &Listed, open: &[PathBuf]) -> Result<Wanted, Refusal> {
    let Given { mut confs, files } = files::given(&listed.request, open)?;
    let profile = confs.remove(PROFILE);
    let policy = [Policy::CONF, Policy::ALIAS].map(|name| confs.remove(name));
    let policy = policy.into_iter().flatten().next();
    let policy = policy
        .map(|policy| policy.parse::<Policy>().map(|_| policy))
        .transpose()?;
    let refused = confs::refused(&confs);
    if !refused.is_empty() {
        let names = refused.join(", ");
        return Err(Refusal::Rejected(format!(
            "Blacklisted configuration values in session config: {names}"
        )));
    }
    confs.extend(policy.map(|policy| (Policy::CONF.to_owned(), policy)));
    let memory_bytes = match confs.get("spark.driver.memory") {
        None => None,
        Some(heap) => {
            let bytes = confs::size_bytes(heap).filter(|bytes| *bytes > 0);
            let wrong = || Refusal::Rejected(format!("driverMemory '{heap}' is not a size such as 2g"));
            Some(confs::reservation(bytes.ok_or_else(wrong)?))
        }
    };
    // What submits a batch is told its lists.
    let of_batch = |name: &str| listed.work() == Work::Batch && files::FIELDS.contains(&name);
    confs.extend(files.into_iter().filter(|(name, _)| !of_batch(name)));
    Ok(Wanted {
        session: listed.session,
        dialect: listed.dialect(),
        work: listed.work(),
        owner: listed.owner.clone(),
        tenant: listed.tenant.clone(),
        client_id: listed.client_id(),
        name: listed.name().map(str::to_owned),
        profile,
        confs,
        memory_bytes,
        lifetime: listed.request.lifetime(),
        share: None,
        is_bound: false,
        was_open: false,
    })
}
