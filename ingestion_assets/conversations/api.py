"""The conversations flow over HTTP: batches and single messages in, the state of the flow out."""
