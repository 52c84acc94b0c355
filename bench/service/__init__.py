"""Real processes: latency, thin links, faults, memory, the page and the dashboards."""
