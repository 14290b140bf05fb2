//! Texts that must be found nowhere but where they belong.

pub const UPSTREAM_KEY: &str = "sk-canary-upstream-4f1c";
pub const REDIS_PASSWORD: &str = "canary-redis-8a2e";
pub const PROMPT: &str = "canary-prompt-77d0";
pub const COMPLETION: &str = "canary-completion-19be";
pub const SYSTEM_PROMPT: &str = "canary-system-c3f5";
pub const METADATA: &str = "canary-metadata-e0a9";
pub const IDEMPOTENCY_KEY: &str = "canary-idempotency-5d6b";
pub const TOKEN: &str = "eyJhbGciOiJub25lIn0.canary-token-b2c4.x";
pub const BAGGAGE: &str = "canary-baggage-9f9f";
pub const COLLECTOR_KEY: &str = "canary-collector-1d1d";
pub const ADDRESS: &str = "203.0.113.77";

/// The name of a member that nobody knows: its pointer tells the caller which one it was.
pub const MEMBER: &str = "canary-member-31c7";

/// What is never written anywhere, whatever the level.
pub const NEVER: [&str; 10] = [
    UPSTREAM_KEY,
    REDIS_PASSWORD,
    PROMPT,
    COMPLETION,
    SYSTEM_PROMPT,
    METADATA,
    IDEMPOTENCY_KEY,
    "canary-token-b2c4",
    BAGGAGE,
    COLLECTOR_KEY,
];

/// Fails where one of these texts is in what somebody wrote.
pub fn must_be_clean(place: &str, text: &str, canaries: &[&str]) {
    for canary in canaries {
        if let Some(at) = text.find(canary) {
            let (from, to) =
                (text.floor_char_boundary(at.saturating_sub(200)), text.ceil_char_boundary(at + 60));
            panic!("{place} holds {canary}: …{}…", &text[from..to]);
        }
    }
}
