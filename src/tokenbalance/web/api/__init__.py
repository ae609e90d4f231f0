"""The management side: routes that people and scripts use, their errors, their documentation."""
