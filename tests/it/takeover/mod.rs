//! Several replicas of one service: any of them answers for a turn, and when one dies another goes on.

mod dies;
mod fleet;
mod leaves;
mod shared;
mod stalls;
