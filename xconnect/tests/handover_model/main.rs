//! The hand-over of decision 8 as a model, all of whose interleavings are explored.
//!
//! A step is what the kernel or the relay does without a chance for anybody else to see it half done. Two
//! properties are checked: what the receiver gets is at any moment the beginning of what was queued, in its
//! order; and from every state one can be reached in which all was delivered. Each rule of the decision is
//! left out once, and the search must then find what goes wrong.

mod back;
mod explore;
mod faults;
mod kernel;
mod proofs;
mod queue;
mod relay;
mod scenario;
mod sender;
mod state;
mod steps;
