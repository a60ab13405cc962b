"""What is touched of foreign libraries' private parts: one module for each library."""
