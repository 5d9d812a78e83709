"""The operating system and the site: atomic files, permissions, libraries, tools that tell quotas and tickets."""
