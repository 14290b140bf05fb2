//! The HTTP API: its documents, its examples, its bodies and its streams.

mod bodies;
mod documents;
mod examples;
mod streams;
