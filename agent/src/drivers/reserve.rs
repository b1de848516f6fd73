//! A driver for a session: the one it has, one that it may share, a warm one, or a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::ids::{DriverId, Epoch, ProfileName};
use tokio::time::Instant;
use uuid::Uuid;

use super::fence::FenceError;
use super::supervise::Watched;
use super::{Drivers, Table};
use crate::config::{ProfileConfig, Share};
use crate::driver::Driver;
use crate::driver::launch::{Plan, Purpose};
use crate::reservations::{Claim, Held, Refusal};

/// Why a session gets no driver here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReserveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this node has no profile {0}; configure it under [agent.profiles.{0}]")]
    UnknownProfile(ProfileName),
    #[error(transparent)]
    Fence(#[from] FenceError),
    #[error("the driver's process could not be started: {0}")]
    Launch(#[from] std::io::Error),
    #[error("drivers of profile {profile} fail to start: {reason}")]
    Resting { profile: ProfileName, reason: String },
}

/// What a session asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) profile: ProfileName,
    pub(crate) claim: Claim,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) static_confs: BTreeMap<String, String>,
    pub(crate) batch: bool,
}

impl Wanted {
    /// The claim with the key under which drivers of this profile are shared.
    fn claim(&self, profile: &ProfileConfig) -> Claim {
        let shares = profile.share != Share::Session && self.static_confs.is_empty();
        let key = self
            .claim
            .share_key
            .as_ref()
            .filter(|key| shares && !key.is_empty());
        Claim {
            share_key: key.map(|key| format!("{}/{key}", self.profile)),
            ..self.claim.clone()
        }
    }
}

impl Drivers {
    /// Gives the session a driver, which may still be starting.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing is reserved then.
    pub(crate) async fn reserve(self: &Arc<Self>, wanted: &Wanted) -> Result<Arc<Driver>, ReserveError> {
        let profile = self.profile(&wanted.profile)?;
        let claim = wanted.claim(profile);
        // The epochs before have been fenced by now; if not, they are before this one begins (I1).
        if claim.epoch > Epoch::INITIAL {
            self.fence(claim.session, claim.epoch).await?;
        }
        let mut held = Held::warm(
            wanted.profile.clone(),
            wanted.memory_bytes.unwrap_or(profile.memory_bytes),
        );
        held.batch = wanted.batch;
        let id = DriverId::new(Uuid::new_v4());
        let _one = self.starting.lock().await;
        {
            let mut table = self.lock();
            if let Some(driver) = table.driver_of(&claim)? {
                return Ok(driver);
            }
            if wanted.static_confs.is_empty() && !wanted.batch {
                if let Some(driver) = table.take(&held, &claim, profile)? {
                    drop(table);
                    self.changed();
                    return Ok(driver);
                }
                table.check_rest(&wanted.profile)?;
            }
            table.reservations.reserve(id, held, Some(&claim))?;
        }
        let purpose = if wanted.batch {
            Purpose::Batch
        } else {
            Purpose::Session
        };
        Ok(self.launch(id, purpose, &wanted.profile, profile, &wanted.static_confs)?)
    }

    /// Reserves room for a driver of the profile that no session can have. False if there is none now.
    pub(crate) fn reserve_aside(&self, id: DriverId, name: &ProfileName) -> bool {
        let Ok(profile) = self.profile(name) else {
            return false;
        };
        let mut held = Held::warm(name.clone(), profile.memory_bytes);
        held.share_key = Some(format!("aside/{id}"));
        self.lease.is_held() && self.lock().reservations.reserve(id, held, None).is_ok()
    }

    /// Gives that room back.
    pub(crate) fn release_aside(&self, id: DriverId) {
        self.lock().reservations.release(id);
        self.changed();
    }

    fn profile(&self, name: &ProfileName) -> Result<&ProfileConfig, ReserveError> {
        let found = self.config.profiles.get(name);
        found.ok_or_else(|| ReserveError::UnknownProfile(name.clone()))
    }

    /// Starts a driver that has been reserved. The caller holds `starting`.
    pub(super) fn launch(
        self: &Arc<Self>,
        id: DriverId,
        purpose: Purpose,
        name: &ProfileName,
        profile: &ProfileConfig,
        static_confs: &BTreeMap<String, String>,
    ) -> std::io::Result<Arc<Driver>> {
        let plan = Plan {
            id,
            purpose,
            name,
            profile,
            static_confs,
            fence: *self.lease.held_until().borrow(),
            node: &self.node(),
        };
        let launched = plan.launch(&self.config);
        let (driver, child) = launched.inspect_err(|_| self.lock().reservations.release(id))?;
        let driver = Arc::new(driver);
        tracing::info!(driver.id = %id, profile = %name, pid = driver.host.pid, "driver starting");
        {
            let mut table = self.lock();
            table.drivers.insert(id, Arc::clone(&driver));
            table.save(id);
        }
        let own_confs = !static_confs.is_empty() || purpose == Purpose::Batch;
        self.supervise(&driver, Watched::Child(child), own_confs);
        self.changed();
        Ok(driver)
    }
}

impl Table {
    fn driver_of(&self, claim: &Claim) -> Result<Option<Arc<Driver>>, Refusal> {
        let id = self.reservations.find(claim.session, claim.epoch)?;
        let driver = id.and_then(|id| self.drivers.get(&id));
        Ok(driver.filter(|driver| !driver.has_ended()).cloned())
    }

    /// Takes a driver that is there: one to share before a warm one, one that is ready before one that starts.
    fn take(
        &mut self,
        wanted: &Held,
        claim: &Claim,
        profile: &ProfileConfig,
    ) -> Result<Option<Arc<Driver>>, Refusal> {
        let fits = |held: &Held| {
            let joins = claim.share_key.is_some() && held.share_key == claim.share_key;
            held.profile == wanted.profile
                && held.memory_bytes >= wanted.memory_bytes
                && (joins || held.is_warm())
        };
        let fitting = self.reservations.drivers().iter().filter(|(_, held)| fits(held));
        let mut candidates: Vec<_> = fitting
            .filter_map(|(id, held)| {
                let driver = self.drivers.get(id)?;
                let order = (held.is_warm(), driver.ready().is_none(), held.sessions.len());
                let lives = !driver.has_ended() && driver.ending().is_none();
                lives.then(|| (order, Arc::clone(driver)))
            })
            .collect();
        candidates.sort_by_key(|(order, _)| *order);
        for ((was_warm, ..), driver) in candidates {
            let most = profile.sessions_per_driver.max(1) as usize;
            if self.reservations.assign(driver.id, claim, most)? {
                if was_warm {
                    self.handed_out = Some(Instant::now());
                }
                self.save(driver.id);
                return Ok(Some(driver));
            }
        }
        Ok(None)
    }
}
