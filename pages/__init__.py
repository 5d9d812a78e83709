"""Write HTML pages: campaign reports, the index of published reports, comparisons."""
