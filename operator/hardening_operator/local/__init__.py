"""The local shell: the planner's decisions carried out with local processes."""
