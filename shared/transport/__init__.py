"""Redis Streams as the transport: the broker, the receiver, the relay."""
