//! The broker's part of the configuration.

use std::collections::BTreeMap;

use berth_core::admission::Limits;
use berth_core::ids::{ProfileName, TenantId};
use serde::{Deserialize, Serialize};

use crate::dialects::hs2::Hs2Config;
use crate::dialects::kyuubi::KyuubiConfig;
use crate::dialects::livy::LivyConfig;
use crate::dialects::sql::SqlConfig;

/// What a broker needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// Tenant of users that no rule gives another one.
    pub default_tenant: TenantId,
    /// Profile of sessions that ask for none.
    pub default_profile: ProfileName,
    /// Calls of clients that are served at once; more are asked to come again.
    pub max_calls: usize,
    /// Seconds for which a call waits while its session is placed or recovered. Spark Connect clients wait 10 min.
    pub hold_seconds: u64,
    /// Seconds after which a broker that is not heard of counts as lost; at least 3.
    pub lease_seconds: u64,
    /// Seconds without any call or running work after which a session ends; 0 for never.
    pub idle_seconds: u64,
    /// Seconds for which an operation of Spark Connect lives without a call that reads its result.
    pub detached_seconds: u64,
    /// Recorded changes that one session may have. Beyond ten thousand, a recovery takes minutes.
    pub lineage_entries: u64,
    /// Seconds for which the record of a session that has ended is kept.
    pub closed_seconds: u64,
    /// The Livy dialect.
    pub livy: LivyConfig,
    /// What the dialects that run SQL have in common.
    pub sql: SqlConfig,
    /// HiveServer2's Thrift protocol.
    pub hs2: Hs2Config,
    /// Kyuubi's REST API.
    pub kyuubi: KyuubiConfig,
    /// Limits of tenants without limits of their own.
    pub default_limits: Limits,
    /// Limits by tenant.
    pub tenants: BTreeMap<TenantId, Limits>,
}

impl BrokerConfig {
    /// The limits of a tenant.
    pub fn limits(&self, tenant: &TenantId) -> Limits {
        self.tenants.get(tenant).copied().unwrap_or(self.default_limits)
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            default_tenant: "default".parse().expect("a well-formed tenant id"),
            default_profile: "default".parse().expect("a well-formed profile name"),
            max_calls: 10_000,
            hold_seconds: 300,
            lease_seconds: 10,
            idle_seconds: 3600,
            detached_seconds: 300,
            lineage_entries: 10_000,
            closed_seconds: 24 * 3600,
            livy: LivyConfig::default(),
            sql: SqlConfig::default(),
            hs2: Hs2Config::default(),
            kyuubi: KyuubiConfig::default(),
            default_limits: Limits::default(),
            tenants: BTreeMap::new(),
        }
    }
}
