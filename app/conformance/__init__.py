"""What Belfry promises, asked of any running deployment from the outside, over HTTP and with a token.

Behind it may be proxies, other settings or another version: nothing here looks into the server. What a run sends goes
to users that were made for it, leaves with the run, and would expire by itself if the run were cut off.
"""
