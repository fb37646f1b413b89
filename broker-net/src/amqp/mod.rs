//! AMQP 0-9-1: the codec and the machines of connections and channels.

pub mod codec;
