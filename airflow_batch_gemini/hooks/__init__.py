"""Doors to Google: one hook per service. Google's own types stop here."""
