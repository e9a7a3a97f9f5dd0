"""Who may run what: the checks before a run, in their order, and the limits of an organization's plan."""
