"""Policies explained to people; the engine never imports it."""
