//! What labels can say.

use super::family::label;

label! {
    /// HTTP methods; anything else is `_OTHER`, as in OpenTelemetry's HTTP conventions.
    Method {
        Get = "GET", Head = "HEAD", Post = "POST", Put = "PUT", Delete = "DELETE", Connect = "CONNECT",
        Options = "OPTIONS", Trace = "TRACE", Patch = "PATCH", Other = "_OTHER",
    }
}
label! {
    /// The first digit of a status.
    StatusClass { Informational = "1xx", Success = "2xx", Redirection = "3xx", Client = "4xx", Server = "5xx" }
}
label! {
    /// Why a TCP connection ended.
    ConnectionEnd {
        Done = "done", HeaderTimeout = "header_timeout", IdleTimeout = "idle_timeout",
        ProtocolError = "protocol_error", TlsError = "tls_error", Limit = "limit", Drain = "drain",
    }
}
label! {
    /// Which port speaks TLS.
    TlsPort { Public = "public", Management = "management" }
}
label! {
    /// Why an event stream ended.
    StreamEnd {
        Completed = "completed", ClientGone = "client_gone", SlowReader = "slow_reader", Drain = "drain",
        Deadline = "deadline",
    }
}
label! {
    /// What became of a request to resume.
    ResumeOutcome { Resumed = "resumed", Ended = "ended", Refused = "refused" }
}
label! {
    /// Why a socket closed: the names of the close codes, and the ways that send none.
    SocketEnd {
        Normal = "normal", ProtocolError = "protocol_error", UnsupportedData = "unsupported_data",
        InvalidUtf8 = "invalid_utf8", MessageTooBig = "message_too_big", PolicyViolation = "policy_violation",
        Internal = "internal", ServiceRestart = "service_restart", TryAgainLater = "try_again_later",
        HeartbeatTimeout = "heartbeat_timeout", Idle = "idle", SlowReader = "slow_reader",
        ConnectionLimit = "connection_limit", AuthExpired = "auth_expired", Replaced = "replaced",
        ClientGone = "client_gone",
    }
}
label! {
    /// Why an upgrade was refused.
    SocketRefusal {
        PerClient = "per_client", Total = "total", RateLimit = "rate_limit", Draining = "draining",
        Subprotocol = "subprotocol", NotAnUpgrade = "not_an_upgrade", Origin = "origin",
    }
}
label! {
    /// Which way a frame went.
    Direction { In = "in", Out = "out" }
}
label! {
    /// Frames of the socket protocol.
    Frame {
        Chat = "chat", Resume = "resume", Cancel = "cancel", Auth = "auth", Ping = "ping", Hello = "hello",
        Event = "event", Cancelling = "cancelling", Error = "error", Authenticated = "authenticated", Pong = "pong",
        Draining = "draining", Invalid = "invalid",
    }
}
label! {
    /// What a policy decided.
    Decision { Allowed = "allowed", Refused = "refused" }
}
label! {
    /// Where something is kept or decided.
    Backend { Local = "local", Redis = "redis", Fallback = "fallback" }
}
label! {
    /// What told who the client is.
    IdentifiedBy { Header = "header", Connection = "connection", Principal = "principal", None = "none" }
}
label! {
    /// A breaker's state; *closed* means traffic flows.
    BreakerState { Closed = "closed", Open = "open", HalfOpen = "half_open" }
}
label! {
    /// What a breaker saw of a call.
    BreakerCall { Success = "success", Failure = "failure", Ignored = "ignored", Rejected = "rejected" }
}
label! {
    /// How a turn ended.
    TurnOutcome { Completed = "completed", Failed = "failed", Cancelled = "cancelled" }
}
label! {
    /// Why a turn was not begun.
    TurnRefusal {
        Busy = "busy", Draining = "draining", Overloaded = "overloaded", UnknownPersona = "unknown_persona",
        IdempotencyKeyReused = "idempotency_key_reused", State = "state",
    }
}
label! {
    /// Which door a turn came through.
    Transport { Json = "json", Sse = "sse", WebSocket = "websocket" }
}
label! {
    /// Why a turn changed its owner.
    Takeover { Died = "died", HandedOver = "handed_over" }
}
label! {
    /// How a reply ended.
    ReplyOutcome { Completed = "completed", Failed = "failed", Cancelled = "cancelled" }
}
label! {
    /// What an idempotency key did.
    Idempotency { First = "first", Replayed = "replayed", Reused = "reused" }
}
label! {
    /// Which way routing went.
    RouteSource {
        Explicit = "explicit", Mention = "mention", Single = "single", Cache = "cache", Model = "model",
        Fallback = "fallback",
    }
}
label! {
    /// How a model call ended.
    ModelOutcome {
        Ok = "ok", Timeout = "timeout", Throttled = "throttled", Refused = "refused", Broken = "broken",
        Open = "open", Cancelled = "cancelled",
    }
}
label! {
    /// Why a model was called.
    ModelCause { First = "first", Retry = "retry", Repair = "repair", Takeover = "takeover" }
}
label! {
    /// Which tokens.
    TokenType { Input = "input", Output = "output" }
}
label! {
    /// What is done with a conversation.
    MemoryOperation { Add = "add", History = "history", Clear = "clear", List = "list" }
}
label! {
    /// How an operation ended.
    Outcome { Ok = "ok", Error = "error" }
}
label! {
    /// What a write to a turn's log was answered.
    AppendOutcome { Ok = "ok", Resend = "resend", Fenced = "fenced", Ended = "ended", Gone = "gone" }
}
label! {
    /// What Redis is asked to do.
    RedisOperation {
        Accept = "accept", Append = "append", Finish = "finish", TakeOver = "take_over", Restore = "restore",
        Read = "read", Follow = "follow", Cancel = "cancel", Index = "index", Merge = "merge", History = "history",
        Clear = "clear", Beat = "beat", Admit = "admit", Decide = "decide",
    }
}
label! {
    /// What became of a command: answered, too slow, or not carried out.
    RedisOutcome { Ok = "ok", Slow = "slow", Failed = "failed" }
}
label! {
    /// Whether a connection can be used.
    LinkState { Up = "up", Down = "down" }
}
label! {
    /// What works in a smaller way while Redis cannot be asked.
    Feature { Memory = "memory", Turns = "turns", Limits = "limits", Sockets = "sockets" }
}
label! {
    /// Kinds of leases.
    LeaseKind { Socket = "socket", Ticket = "ticket" }
}
label! {
    /// What a caller shows to say who it is.
    AuthMethod { None = "none", ApiKey = "api_key", Jwt = "jwt", Ticket = "ticket" }
}
label! {
    /// What became of a credential.
    AuthOutcome {
        Ok = "ok", Missing = "missing", Malformed = "malformed", Unknown = "unknown", Expired = "expired",
        NotYet = "not_yet", Issuer = "wrong_issuer", Audience = "wrong_audience", Algorithm = "wrong_algorithm",
        Signature = "bad_signature", Claims = "bad_claims", Unavailable = "unavailable",
    }
}
label! {
    /// Files that are read again when they change.
    WatchedFile {
        Flags = "flags", Keys = "keys", Jwks = "jwks", Tls = "tls", ManagementTls = "management_tls",
    }
}

impl From<&http::Method> for Method {
    fn from(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

impl From<u16> for StatusClass {
    fn from(status: u16) -> Self {
        match status {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::Client,
            500.. => Self::Server,
        }
    }
}
