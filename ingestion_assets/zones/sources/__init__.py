"""Further doors into a flow: queues that a front door reads from, landing each message as if it had been sent to it.

A message is acknowledged to its queue once its payload is durable. Its own id is the idempotency key, so that one which is delivered again
lands once. What is no payload of the flow goes to the queue's dead letters, whole, with the reason.
"""
