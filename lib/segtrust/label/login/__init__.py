"""Who may do what: users with roles, what they send to prove it, and the check in front of every route.

- ``passwords``, ``accounts``: users, their passwords and keys, and the file that holds them
- ``access``: the least role of every route
- ``credentials``, ``sessions``: what came with a request; what a client got for a password
- ``openid``: tokens of an OpenID Connect provider
- ``limits``: wrong passwords, requests of a user in a minute and at a time
- ``gate``: all of this as one question; ``middleware``: in front of all routes; ``routes``: of ``/auth/``
"""
