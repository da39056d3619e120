"""Adapters that give DesDis the shape other tools expect. Nothing in the package imports them."""
