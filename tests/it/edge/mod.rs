//! The edge over real sockets: what clients, balancers and broken programs get to see.

mod answers;
mod bodies;
mod browsers;
mod demo;
mod leaving;
mod limited;
mod management;
mod pace;
mod raw;
mod storm;
mod strangers;
