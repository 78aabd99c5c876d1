"""What of the flow runs in a front door: endpoints, the jobs it takes from Redis, the webhooks it sends.

Nothing else of the flow imports this, nor FastAPI: pyproject.toml holds it to that.
"""
