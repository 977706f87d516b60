"""What `needle bench serve` measures: two workloads in three layouts, the load on a server, and figures of it."""
