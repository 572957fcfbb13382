"""Pictures, and pages that zoom."""
