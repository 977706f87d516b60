"""What runs on workers: each task reads, calls the science, and writes. Reached by name alone, from `plan.stages`."""
