"""The built-in server: the KServe v2 protocol by gRPC and HTTP, for a repository that Triton could serve. No batching, one process."""
