//! What Redis is asked to do.

use std::sync::OnceLock;

use ::redis::{Cmd, ToRedisArgs};
use ulid::Ulid;

use crate::telemetry::metrics::RedisOperation;

/// A Lua script: one step that nothing comes between. It touches keys of one slot only, so it works on a Cluster too.
#[derive(Debug)]
pub struct Script {
    operation: RedisOperation,
    source: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// The script `source`; `operation` is what metrics call it.
    pub const fn new(operation: RedisOperation, source: &'static str) -> Self {
        Self { operation, source, hash: OnceLock::new() }
    }

    /// Begins a call of the script on these keys.
    pub fn on<K: Into<String>>(&'static self, keys: impl IntoIterator<Item = K>) -> Call {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        Call { operation: self.operation, what: What::Script(self), keys, arguments: Vec::new(), once: false }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| ::redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// One command or script with what it is given.
#[derive(Clone, Debug)]
pub struct Call {
    operation: RedisOperation,
    what: What,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
    once: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Script(&'static Script),
    Command(&'static str),
}

impl Call {
    /// Begins a plain command on one key.
    pub fn command(operation: RedisOperation, name: &'static str, key: impl Into<String>) -> Self {
        Self {
            operation,
            what: What::Command(name),
            keys: vec![key.into()],
            arguments: Vec::new(),
            once: false,
        }
    }

    /// Adds an argument, or several.
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.arguments.extend(argument.to_redis_args());
        self
    }

    /// Adds an id in its canonical spelling.
    pub fn ulid(self, id: Ulid) -> Self {
        self.arg(id.to_string())
    }

    /// Forbids sending it a second time when the connection breaks: it may have been carried out.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(super) fn is_once(&self) -> bool {
        self.once
    }

    pub(super) fn operation(&self) -> RedisOperation {
        self.operation
    }

    /// The command as it is sent; a script is named by its hash.
    pub(super) fn short(&self) -> Cmd {
        match self.what {
            What::Script(script) => self.evaluate("EVALSHA", script.hash()),
            What::Command(name) => self.plain(name),
        }
    }

    /// The command for a Redis that does not know the script yet.
    pub(super) fn whole(&self) -> Cmd {
        match self.what {
            What::Script(script) => self.evaluate("EVAL", script.source),
            What::Command(name) => self.plain(name),
        }
    }

    fn evaluate(&self, command: &str, script: &str) -> Cmd {
        let mut cmd = ::redis::cmd(command);
        cmd.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        cmd
    }

    fn plain(&self, name: &str) -> Cmd {
        let mut cmd = ::redis::cmd(name);
        cmd.arg(&self.keys).arg(&self.arguments);
        cmd
    }
}
