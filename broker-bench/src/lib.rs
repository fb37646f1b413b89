//! The load generator of the RingMQ broker: a client of its own, independent of the broker's code.
#![forbid(unsafe_code)]
