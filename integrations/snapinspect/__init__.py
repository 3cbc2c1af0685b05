"""SnapInspect's protocol as plain functions and small classes over HTTP, without database, settings or web framework.

authorization     the authorization URL, and the response that arrives at the redirect URI
exchange_call     new tokens for a refresh token
client            API calls with an access token; `profile` reads the answer of `/user`
webhook_body      what a webhook's body says (`webhook_members` reads one object, `webhook_text` what is not JSON)
inspection_content  what the API says about an inspection
json_answers      parses answers, and removes tokens from them (`json_depth` refuses what is nested too deeply)
json_text         formats JSON for pages
error_answers     recognizes answers with status 2xx that report a failure
safe_urls         which URLs may be called, and paths that cannot leave the API base
transport         HTTP with a deadline, a size limit and no redirects; `http_connections` is its lower half
token_pair        two tokens that no repr and no serialiser shows
errors            what can go wrong, as a tree of exceptions
"""
