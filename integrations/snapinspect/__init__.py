"""What SnapInspect's protocol says, as plain functions and small classes over HTTP.

    addresses      which URLs are safe to talk to, and paths that cannot leave the API base
    authorization  the URL a customer is sent to, and what comes back to the redirect URI
    exchange       new tokens for a refresh token
    client         API calls with an access token
    answers        JSON from the remote, refused unless it is exactly JSON
    profile        who `/user` says the token belongs to
    transport      the one way out: deadline, size cap, TLS, no redirects
    pair           two tokens that do not show themselves
    errors         what can go wrong, drawn as a tree

No database, no settings and no web framework in here: everything is passed in.
"""
