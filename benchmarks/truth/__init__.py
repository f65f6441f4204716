"""Where the right decomposition is known: what measures of modularity say there, and what they predict."""
