//! What is measured in small.

pub mod hot;
