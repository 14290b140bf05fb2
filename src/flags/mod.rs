//! Feature flags, in OpenFeature's terms.
use crate::words::Principal;
/// x
#[derive(Clone, Copy, Debug)]
pub enum Flag { /// x
Routing, /// x
RoutingCache, /// x
ParallelReplies }
/// x
#[derive(Debug)]
pub struct Flags;
impl Flags { /// x
pub fn is_on(&self, _: Flag, _: &Principal) -> bool { true } /// x
pub fn max_personas(&self, _: &Principal, d: usize) -> usize { d } }
