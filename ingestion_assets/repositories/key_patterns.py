"""Whether a text looks as if it held a secret: a key, a token, a password. Its text is not stored then."""

import re

# No name is longer than its bound: a text of beginnings of names takes no time by its square.
_PATTERNS = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                                   # AWS
    | \bgh[pousr]_[A-Za-z0-9]{36,} | \bgithub_pat_[A-Za-z0-9_]{40,}   # GitHub
    | \bglpat-[A-Za-z0-9_-]{20,}                                      # GitLab
    | \bxox[abposr]-[A-Za-z0-9-]{10,}                                 # Slack
    | \bsk_(?:live|test)_[A-Za-z0-9]{16,} | \bsk-[A-Za-z0-9_-]{32,}   # Stripe and others
    | \bAIza[0-9A-Za-z_-]{35}                                         # Google
    | \beyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}
    | \b[a-z][a-z0-9+.-]{0,30}://[^\s/:@'"]+:[^\s/@'"]{6,}@                # a password in an address
    | (?i:api_?key|secret|passw(?:or)?d|token|credential)[\w-]{0,50}["']?\s*(?::=|[:=])\s*["'][^"'\s]{12,}["']
    """,
    re.VERBOSE,
)


def may_hold_secret(text: str) -> bool:
    """Whether it is better not kept."""
    return _PATTERNS.search(text) is not None
