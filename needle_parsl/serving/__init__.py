"""Models as a service: repositories that Triton reads, the servers that serve them, and the client. Nothing here knows what a model computes."""
