//! The benchmarks.

pub mod latency;
pub mod livy;
pub mod recovery;
pub mod start;
pub mod throughput;

use std::path::PathBuf;

use clap::Args;

use crate::target::Target;

/// What is compared.
#[derive(Debug, Clone, Args)]
pub struct Sides {
    /// Berth: host:port or sc://host:port/;token=...
    #[arg(long)]
    pub via: Target,
    /// A driver without Berth in between: host:port or sc://...
    #[arg(long)]
    pub direct: Option<Target>,
    /// The driver's token.
    #[arg(long, env = "BERTH_DIRECT_TOKEN", hide_env_values = true)]
    pub direct_token: Option<String>,
    /// Berth's token.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    pub via_token: Option<String>,
    /// Write the result as JSON here too.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Sides {
    /// Berth, with its token.
    pub fn via(&self) -> Target {
        self.via.clone().with_token(self.via_token.clone())
    }

    /// The driver, with its token.
    pub fn direct(&self) -> Option<Target> {
        let direct = self.direct.clone()?;
        Some(direct.with_token(self.direct_token.clone()))
    }
}
