"""Rate limits: when each call may leave, so that a provider never has to refuse one."""
