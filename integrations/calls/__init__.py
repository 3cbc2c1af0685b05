"""SnapInspect's API on a customer's behalf.

`api_client` makes a call with a connection's token, or forwards one (`request_body` is its body). `health_check` asks
`/user`, and `verdicts` records on the connection what an answer proves. `panels` and `explorer` show answers to people,
`tables` makes rows and columns of an answer, and `limits` bounds how many threads wait for SnapInspect.
"""
