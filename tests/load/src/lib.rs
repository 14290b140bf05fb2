//! The load generator of Polylogue.
//!
//! | module | does |
//! |---|---|
//! | `cli`, `app` | what may be said, and what becomes of it |
//! | `drive`, `arrivals` | who asks when: closed and open loop |
//! | `chat`, `direct`, `idle` | what is asked: turns of a deployment, requests of a model server, silent sockets |
//! | `verify`, `sse` | what comes back: every event in its place |
//! | `dial`, `http_client`, `socket`, `target` | the wire |
//! | `measure`, `process`, `report`, `plot` | what is counted, and how it is shown |
//! | `upstream` | a model server that is never the bottleneck |

pub mod app;
pub mod arrivals;
pub mod chat;
pub mod cli;
pub mod dial;
pub mod direct;
pub mod drive;
pub mod fault;
pub mod http_client;
pub mod idle;
pub mod measure;
pub mod message;
pub mod outcome;
pub mod plot;
pub mod process;
pub mod report;
pub mod socket;
pub mod sse;
pub mod target;
pub mod upstream;
pub mod verify;
