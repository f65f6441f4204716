"""Searching: strategies, stopping rules, references, the controller and the workers."""
