//! Metrics of what is kept, and of the process.

use super::family::{Counter as counter, Gauge as gauge, Histogram as histogram, Name, family};
use super::labels::*;
use super::shape::Buckets;

const OPERATION: Buckets = Buckets {
    why: "Time-outs are 0.25 and 1 s.",
    bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
};

family! {
    /// Redis.
    Redis {
        /// Whether Redis answered when it was asked last.
        gauge up = "redis_up";
        /// How long a command took, by what became of it.
        histogram commands = "redis_command_duration_seconds" [operation: RedisOperation, outcome: RedisOutcome] in OPERATION;
        /// Connections to Redis.
        gauge pool = "redis_pool_connections" [state: LinkState];
        /// 1 while a feature works in a smaller way because Redis cannot be asked.
        gauge degraded = "feature_degraded" [feature: Feature];
        /// How often Redis was found to have lost its data.
        counter data_lost = "redis_data_lost_total";
    }
}
family! {
    /// Conversations.
    Memory {
        /// Operations on conversations.
        counter operations = "memory_operations_total" [backend: Backend, operation: MemoryOperation, outcome: Outcome];
        /// How long an operation on a conversation took.
        histogram duration = "memory_operation_duration_seconds" [backend: Backend, operation: MemoryOperation] in OPERATION;
        /// Conversations kept in this process.
        gauge conversations = "memory_conversations" [backend: Backend];
        /// Messages that are kept here and not yet confirmed by Redis.
        gauge unconfirmed = "memory_unconfirmed_messages";
        /// Unconfirmed messages given up because there were too many.
        counter unconfirmed_dropped = "memory_unconfirmed_dropped_total";
        /// Turns answered twice, of which this version was dropped.
        counter conflicts = "memory_merge_conflicts_total";
    }
}
family! {
    /// Turn logs.
    TurnLog {
        /// Writes to turn logs, by what they were answered.
        counter appends = "turnlog_appends_total" [outcome: AppendOutcome];
        /// Turns whose end was never written, because the log could not be reached until it was too late.
        counter lost = "turnlog_lost_total";
        /// Age of the oldest event that the log has not confirmed.
        gauge unconfirmed = "turnlog_unconfirmed_seconds";
        /// Turns owned elsewhere that are read here.
        gauge followed = "turnlog_followed";
    }
}
family! {
    /// Leases.
    Leases {
        /// Leases held by this replica.
        gauge held = "leases" [kind: LeaseKind];
        /// Leases that ended because nobody renewed them.
        counter expired = "leases_expired_total" [kind: LeaseKind];
        /// Replicas alive, as this one sees it; the same on all, so use max.
        gauge replicas = "replicas_live";
    }
}
family! {
    /// The process itself.
    Process {
        /// 1, with the version and revision as labels.
        gauge build_info = "build_info" [version: Name, revision: Name];
        /// Whether this replica takes traffic.
        gauge ready = "ready";
        /// Whether this replica is stopping.
        gauge draining = "draining";
        /// Files read again because they changed.
        counter reloads = "config_reloads_total" [file: WatchedFile, outcome: Outcome];
        /// When a watched file was last read with success.
        gauge reloaded = "config_reload_success_timestamp_seconds" [file: WatchedFile];
        /// Threads that run tasks.
        gauge tokio_workers = "tokio_workers";
        /// Tasks that have not ended.
        gauge tokio_alive_tasks = "tokio_alive_tasks";
        /// Tasks that wait for a free thread in the queue all threads share.
        gauge tokio_global_queue_depth = "tokio_global_queue_depth";
        /// Log lines not written because there were too many of their kind.
        counter suppressed = "log_lines_suppressed_total" [event: Name];
    }
}
