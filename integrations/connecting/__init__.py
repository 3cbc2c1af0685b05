"""From the button to *Connected*, and back.

`oauth_state` issues and redeems the state parameter, `completion` takes a token pair that came back to a working
connection, `sessions` are those of the hosted page, `links` lets a colleague connect from another device,
`personal_tokens` takes tokens that came by e-mail, `sign_in` is *Sign in with SnapInspect*, `unused_pairs` revokes
pairs that came back and are used for nothing. `disconnection` ends the access of one connection, `customer_deletion`
deletes a customer.
"""
