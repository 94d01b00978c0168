"""Measures transient beside others, and beside what the machine allows. Standard library only.

A module for each table; `scripts/bench.sh` prepares what they need.
"""
