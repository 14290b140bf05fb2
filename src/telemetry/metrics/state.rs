//! Metrics of what is kept, and of the process.

use super::family::{Counter as counter, Gauge as gauge, Histogram as histogram, Name, family};
use super::labels::*;

/// Time-outs are 0.25 and 1 s.
const OPERATION: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

family! {
    /// Conversations.
    Memory {
        /// Operations on conversations.
        counter operations = "memory_operations_total" [backend: Backend, operation: MemoryOperation, outcome: Outcome];
        /// How long an operation on a conversation took.
        histogram duration = "memory_operation_duration_seconds" [backend: Backend, operation: MemoryOperation] in OPERATION;
        /// Conversations kept in this process.
        gauge conversations = "memory_conversations" [backend: Backend];
    }
}
family! {
    /// Turn logs.
    TurnLog {
        /// Writes to turn logs, by what they were answered.
        counter appends = "turnlog_appends_total" [outcome: AppendOutcome];
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
