"""What every operator needs, of whatever resource: API client, cache, work queue, leader election, probes."""
