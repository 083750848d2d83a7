"""Agents that learn to route."""
