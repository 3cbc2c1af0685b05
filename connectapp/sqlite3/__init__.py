"""The database engine `connectapp.sqlite3`: Django's, for connections that are kept from request to request."""
