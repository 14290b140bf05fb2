//! The steps that a turn's state changes by (`state.md` §2); each script's head is its legend.

use crate::redis::Script;
use crate::telemetry::metrics::RedisOperation as Operation;

const WRITE_SOURCE: &str = include_str!("write.lua");

pub(super) static APPEND: Script = Script::new(Operation::Append, WRITE_SOURCE);
pub(super) static FINISH: Script = Script::new(Operation::Finish, WRITE_SOURCE);
pub(super) static RELEASE: Script = Script::new(Operation::Finish, WRITE_SOURCE);
pub(super) static ACCEPT: Script = Script::new(Operation::Accept, include_str!("accept.lua"));
pub(super) static RESERVE: Script = Script::new(Operation::Accept, include_str!("reserve.lua"));
pub(super) static UNRESERVE: Script = Script::new(Operation::Accept, include_str!("unreserve.lua"));
pub(super) static TAKE_OVER: Script = Script::new(Operation::TakeOver, include_str!("take_over.lua"));
pub(super) static RESTORE: Script = Script::new(Operation::Restore, include_str!("restore.lua"));
pub(super) static READ: Script = Script::new(Operation::Read, include_str!("read.lua"));
pub(super) static FOLLOW: Script = Script::new(Operation::Follow, include_str!("follow.lua"));
pub(super) static CANCEL: Script = Script::new(Operation::Cancel, include_str!("cancel.lua"));
