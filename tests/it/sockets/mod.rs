//! Claims about sockets: who gets one, how long it lives, how it ends.

mod admission;
mod life;
mod protocol;
mod rig;
