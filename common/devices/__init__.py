"""Make results repeatable, compute faster on a CPU, and train on several devices or machines."""
