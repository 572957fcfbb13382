"""A lattice that nobody could store as pictures: tiles of any stage drawn when somebody looks at them, served to a browser; a film.

`atlas` says which spins a picture shows, `turns` whose picture is drawn next, `server` speaks to browsers, `film` flies in.
"""
