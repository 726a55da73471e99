"""What ``gemini-batch`` can do, a module a command."""
