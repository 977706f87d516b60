"""From stores to shuffled batches: in memory, streamed in windows of bounded memory, or read and processed in parallel.

Usable without a workflow: `from needle_parsl.nsbi.data.loading import modules`.
"""
