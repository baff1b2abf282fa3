"""Modules by themselves: no server, no Firestore, no sleep."""
