"""Servers on loopback that play outside systems."""
