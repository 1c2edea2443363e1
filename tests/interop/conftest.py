"""Being here, it puts this folder on the path: tests in the rooms below import its helpers."""
