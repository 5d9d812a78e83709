"""Use the operating system and the site: atomic files, permissions, libraries, tools for quotas and tickets."""
