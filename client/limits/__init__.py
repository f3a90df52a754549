"""Limits that hold across the fleet: what is limited, by how much, and slots taken under them."""
