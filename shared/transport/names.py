"""Names in Redis: the stream, its one consumer group, and the channel that wakes a queue's relay."""

GROUP = "holdfast"


def stream(queue: str) -> str:
    return f"holdfast:{queue}"


def wake_channel(queue: str) -> str:
    return f"holdfast:wake:{queue}"


def worker_channel(incarnation: str) -> str:
    return f"holdfast:worker:{incarnation}"
