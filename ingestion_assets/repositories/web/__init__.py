"""The flow's endpoints, by what they are about."""
