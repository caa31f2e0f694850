"""What people see of a run: progress while it lasts, figures and the bottleneck when it ends."""
