//! Everything together: time, chance, faults, and the picture that is checked.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::admission::Limits;
use berth_core::ids::{BrokerId, Epoch, NodeIncarnation, SessionId};
use berth_core::invariants::{Actual, Picture, violations};
use berth_core::record::{
    Dialect, FORMAT, Lifetime, NodeRecord, Placement, SessionRecord, SessionState, UnixMillis, Work,
};
use uuid::Uuid;

use crate::agent::{Agent, LEASE};
use crate::broker::{BYTES, Step, Task};
use crate::store::Store;

const BROKERS: usize = 3;
const NODES: usize = 3;
/// Room for four drivers a node: placements meet full nodes now and then.
const CAPACITY: u64 = 4 * BYTES;
const SESSIONS: u64 = 6;
const PATIENCE: u32 = 20;

/// splitmix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: UnixMillis,
    pub(crate) random: Random,
    pub(crate) store: Store,
    pub(crate) agents: Vec<Agent>,
    pub(crate) brokers: Vec<BrokerId>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) limits: Limits,
    /// Epochs that a record ever said to be active: only they are sent anything.
    pub(crate) active: BTreeSet<(SessionId, Epoch)>,
    pub(crate) faulty: bool,
    /// False to leave the fence out, to see that this is noticed.
    pub(crate) fencing: bool,
    /// False to ask another node in the same epoch after a lost answer, to see that this is noticed too.
    pub(crate) spending: bool,
    counter: u128,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 1_000,
            random: Random(seed),
            store: Store::default(),
            agents: Vec::new(),
            brokers: Vec::new(),
            tasks: Vec::new(),
            limits: Limits {
                sessions: SESSIONS,
                ..Limits::default()
            },
            active: BTreeSet::new(),
            faulty: true,
            fencing: true,
            spending: true,
            counter: 0,
        };
        for n in 0..NODES {
            let node = format!("n{n}").parse().expect("a node id");
            let incarnation = NodeIncarnation::new(world.uuid());
            world.agents.push(Agent::new(node, incarnation, CAPACITY));
        }
        for _ in 0..BROKERS {
            let broker = world.new_broker();
            world.brokers.push(broker);
        }
        world.tick(0);
        world
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        self.counter += 1;
        Uuid::from_u128(self.counter)
    }

    fn new_broker(&mut self) -> BrokerId {
        self.counter += 1;
        let id: BrokerId = format!("b{}", self.counter).parse().expect("a broker id");
        self.store.brokers.insert(id.clone(), self.now + LEASE);
        id
    }

    /// The agent of a placement, if it can be spoken to and is the run that made it.
    pub(crate) fn reach(&mut self, placement: &Placement) -> Option<&mut Agent> {
        let mut agents = self.agents.iter_mut();
        agents.find(|agent| {
            agent.node == placement.node && agent.incarnation == placement.incarnation && agent.is_reachable()
        })
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, faults: bool) {
        self.faulty = faults;
        match self.random.below(10) {
            0..=5 => self.advance_some_task(),
            6 => self.client(faults),
            7 | 8 => self.tick(200),
            _ if faults => self.fault(),
            _ => self.tick(500),
        }
    }

    fn advance_some_task(&mut self) {
        if self.tasks.is_empty() {
            return self.tick(50);
        }
        let at = self.random.below(self.tasks.len());
        let task = self.tasks.swap_remove(at);
        if let Some(task) = self.advance(task) {
            self.tasks.push(task);
        }
    }

    /// A client opens, uses or closes a session, at any broker.
    fn client(&mut self, may_open: bool) {
        let broker = self.brokers[self.random.below(self.brokers.len())].clone();
        let known: Vec<SessionId> = self.store.sessions.keys().copied().collect();
        if may_open && (known.is_empty() || self.random.one_in(6)) {
            let record = self.new_record(&broker);
            let session = record.id;
            if self.open(record) {
                self.begin(broker, session, Step::Read);
            }
        } else if let Some(session) = known.get(self.random.below(known.len())) {
            let closes = may_open && self.random.one_in(12);
            self.begin(broker, *session, if closes { Step::Close } else { Step::Read });
        }
    }

    /// One piece of work a session at a time in a broker, as its lock has it.
    fn begin(&mut self, broker: BrokerId, session: SessionId, step: Step) {
        let is_busy = |task: &Task| task.broker == broker && task.session == session;
        if !self.tasks.iter().any(is_busy) {
            self.tasks.push(Task {
                broker,
                session,
                step,
                patience: PATIENCE,
            });
        }
    }

    fn new_record(&mut self, broker: &BrokerId) -> SessionRecord {
        SessionRecord {
            format: FORMAT,
            id: SessionId::new(self.uuid()),
            dialect: Dialect::Connect,
            work: Work::Session,
            owner: String::new(),
            tenant: "t".parse().expect("a tenant"),
            profile: "p".parse().expect("a profile"),
            client_id: String::new(),
            name: None,
            server_session_id: Uuid::nil(),
            memory_bytes: BYTES,
            confs: BTreeMap::new(),
            lifetime: Lifetime::default(),
            share: None,
            bound_to: None,
            created_at: self.now,
            epoch: Epoch::INITIAL,
            state: SessionState::Placing {
                broker: broker.clone(),
                from: None,
                cause: None,
                since: self.now,
            },
            early_losses: Vec::new(),
            left_out: 0,
            history: Vec::new(),
        }
    }

    /// Time passes: leases are renewed by those who can, and end for those who could not.
    fn tick(&mut self, millis: u64) {
        self.now += millis;
        let now = self.now;
        for agent in &mut self.agents {
            if self.fencing {
                agent.fence_itself(now);
            }
        }
        self.store.expire(now);
        for broker in &self.brokers {
            self.store.brokers.insert(broker.clone(), now + LEASE);
        }
        for at in 0..self.agents.len() {
            self.renew(at);
        }
    }

    fn renew(&mut self, at: usize) {
        let (now, fresh) = (self.now, NodeIncarnation::new(self.uuid()));
        let agent = &mut self.agents[at];
        if !agent.is_reachable() {
            return;
        }
        let known = self.store.nodes.get_mut(&agent.node);
        match known.filter(|(record, _)| record.incarnation == agent.incarnation) {
            Some((_, until)) => *until = now + LEASE,
            None => {
                // The lease is gone, and with it everything that ran under it.
                agent.drivers.clear();
                agent.incarnation = fresh;
                let record = node_record(agent, now);
                self.store.nodes.insert(agent.node.clone(), (record, now + LEASE));
            }
        }
        agent.renewed(now);
    }

    fn fault(&mut self) {
        let at = self.random.below(self.agents.len());
        match self.random.below(8) {
            0 => self.kill_broker(),
            1 => self.agents[at].is_frozen = true,
            2 => self.thaw(at),
            3 => self.agents[at].is_cut = true,
            4 => self.agents[at].is_cut = false,
            5 => self.agents[at].is_running = false,
            6 => self.agents[at].is_running = true,
            _ => self.kill_driver(at),
        }
    }

    /// Its work is left where it is; another broker comes in its stead.
    fn kill_broker(&mut self) {
        let at = self.random.below(self.brokers.len());
        let fresh = self.new_broker();
        let dead = std::mem::replace(&mut self.brokers[at], fresh);
        self.tasks.retain(|task| task.broker != dead);
    }

    /// The first thing that a thawed node does is to look at its deadline.
    fn thaw(&mut self, at: usize) {
        let now = self.now;
        self.agents[at].is_frozen = false;
        if self.fencing {
            self.agents[at].fence_itself(now);
        }
    }

    fn kill_driver(&mut self, at: usize) {
        let sessions: Vec<SessionId> = self.agents[at].drivers.keys().copied().collect();
        if let Some(session) = sessions.get(self.random.below(sessions.len())) {
            self.agents[at].drivers.remove(session);
        }
    }

    /// All faults end.
    pub(crate) fn heal(&mut self) {
        for at in 0..self.agents.len() {
            self.thaw(at);
            self.agents[at].is_cut = false;
            self.agents[at].is_running = true;
        }
        self.tick(0);
    }

    /// What really runs on behalf of sessions, and what the store says.
    fn picture(&self) -> Picture {
        let nodes = self.agents.iter().map(|agent| {
            let executes = |session: &SessionId, epoch: Epoch| {
                !agent.is_frozen && self.active.contains(&(*session, epoch))
            };
            let drivers = agent.drivers.iter();
            let executing = drivers.filter(|(session, driver)| executes(session, driver.epoch));
            let actual = Actual {
                capacity_bytes: agent.capacity,
                executing: executing
                    .map(|(session, driver)| (*session, (driver.epoch, driver.bytes)))
                    .collect(),
            };
            (agent.node.clone(), actual)
        });
        let tenant = || "t".parse().expect("a tenant");
        let usage = self
            .store
            .usage
            .iter()
            .map(|(usage, _)| (tenant(), usage.clone()));
        Picture {
            sessions: self
                .store
                .sessions
                .iter()
                .map(|(id, (record, _))| (*id, record.clone()))
                .collect(),
            usage: usage.collect(),
            limits: BTreeMap::from([(tenant(), self.limits)]),
            nodes: nodes.collect(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let found = violations(&self.picture());
        if found.is_empty() {
            Ok(())
        } else {
            Err(found.join("; "))
        }
    }

    /// True once every open session is where its record says (I4).
    pub(crate) fn is_served(&self) -> bool {
        self.store
            .sessions
            .values()
            .all(|(record, _)| match &record.state {
                SessionState::Closed { .. } => true,
                SessionState::Placing { .. } => false,
                SessionState::Active { placement, .. } => self.agents.iter().any(|agent| {
                    let driver = agent.drivers.get(&record.id);
                    agent.node == placement.node && driver.is_some_and(|driver| driver.id == placement.driver)
                }),
            })
    }
}

fn node_record(agent: &Agent, now: UnixMillis) -> NodeRecord {
    NodeRecord {
        format: FORMAT,
        id: agent.node.clone(),
        incarnation: agent.incarnation,
        address: String::new(),
        labels: BTreeMap::new(),
        draining: false,
        started_at: now,
        version: String::new(),
    }
}
