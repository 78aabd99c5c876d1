"""What API keys may be allowed to send, flow by flow."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an API key must be allowed to send to a flow: `name`, or `name:<of>` where each key is for a part of the flow
    (`of` says in a word for what). `pattern` is the grammar of that part; `name:*` allows all of them."""

    name: str
    of: str | None = None
    pattern: str = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}"

    def grammar(self) -> str:
        """A regular expression of the scopes that a key may hold."""
        return self.name if self.of is None else rf"{self.name}:(\*|{self.pattern})"

    def help(self) -> list[str]:
        """What a person may write."""
        return [self.name] if self.of is None else [f"{self.name}:<{self.of}>", f"{self.name}:*"]
