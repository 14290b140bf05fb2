//! Turns as clients live them: on the whole service, through every door.

mod busy;
mod cancel;
mod faults;
mod keys;
mod leaving;
mod stage;
