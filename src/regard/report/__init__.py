"""Reports out of numbers and arrays: one offline HTML page, a picture, or a terminal. Reading order: sections, html,
figures, terminal, png; page.js and its companions draw the page."""
