"""Gangs: one program on several workers at once, which stand or fall together."""
