"""Vertex AI: batch prediction jobs, generateContent and countTokens."""
