"""Client of a provider's paginated JSON API: when to ask again, what a page must hold, how a window is cut."""
