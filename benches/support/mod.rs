//! What the benches share: the servers they compare, how to measure one, and how to show
//! the results.

#![allow(dead_code, reason = "each bench takes what it needs")]

pub(crate) mod chart;
pub(crate) mod delay;
pub(crate) mod floor;
pub(crate) mod machine;
pub(crate) mod options;
pub(crate) mod peers;
pub(crate) mod subject;
pub(crate) mod table;
pub(crate) mod trial;
