//! Turns as clients live them: on the whole service, through every door.

mod allowed;
mod bounds;
mod busy;
mod cancel;
mod conversations;
mod faults;
mod keys;
mod leaving;
mod limits;
mod overload;
mod parallel;
mod routing;
mod seen;
mod stage;
mod switches;
