"""What replies earn while a policy trains: verifiers and reward models as scores, written criteria, environments."""
