"""Cosmic rays that reach further than their pixels: snowballs and showers, for the jump step."""
