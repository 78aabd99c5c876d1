"""Kombu's Redis transport, whose worker goes on when the broker went away under a task that had ended.

A message that could not be acknowledged keeps its place in the prefetch window for as long as the connection object lives; kombu
connects again without making a new one. After as many such tasks as the worker has places, it would ask for nothing any more.
"""

from kombu.transport import redis


class _QoS(redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        """What stays in the broker is delivered again when its visibility timeout is over, and recognised by its heartbeat."""
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            self._quick_ack(delivery_tag)
            raise


class _Channel(redis.Channel):
    QoS = _QoS


class Transport(redis.Transport):
    """Named by `broker_transport` in Celery's configuration."""

    Channel = _Channel
