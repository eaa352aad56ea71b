"""The worker: the process of the trust path, its exactly-once loop, and how it resumes."""
