//! The AMQP 0-9-1 wire protocol, sockets and metrics of the RingMQ broker.
