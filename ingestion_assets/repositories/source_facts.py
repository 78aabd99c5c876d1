"""What is read from one source file by its content and language alone: `parsing` makes it, `graph` links it, it is kept by blob."""

import msgspec


class Source(msgspec.Struct, frozen=True, array_like=True):
    """A file to parse; `blob` is the id of its content."""

    path: bytes
    blob: bytes
    language: str
    content: bytes


class Symbol(msgspec.Struct, frozen=True, array_like=True):
    """A definition: function, method, class, interface, type, constant, … Lines count from 1; `end_line` is its last."""

    name: str
    kind: str
    start_line: int
    end_line: int


class Import(msgspec.Struct, frozen=True, array_like=True):
    """One import as it is written, not resolved.

    | language | kind | target | names | level |
    | --- | --- | --- | --- | --- |
    | Python | `import`, `from` | `a.b`, or nothing | imported, or `*` | dots |
    | JavaScript, TypeScript | `import`, `export`, `require`, `dynamic` | `./x` | imported | |
    | Go | `import` | `example.com/m/pkg` | | |
    | Rust | `use`, one for each leaf; `mod` | `crate::a::b`; the module's name | the leaf | |
    | PHP | `use`; `require` | `A\\B\\C`; the text in quotes | | |
    | Java, Kotlin, C# | `import`; `using` | `a.b.C`, `a.b.*` | | |
    | C, C++ | `include` | `x.h` | | 1 for quotes, 0 for <> |
    | Ruby | `require`, `require_relative` | the text in quotes | | |
    | Bash | `source` | the file | | |
    """

    kind: str
    target: str
    names: tuple[str, ...] = ()
    level: int = 0
    line: int = 0


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Lines `start_line` to `end_line` (from 1, both within), which are the bytes `start_byte` to before `end_byte`."""

    start_line: int
    end_line: int
    start_byte: int
    end_byte: int


class Parsed(msgspec.Struct, frozen=True, array_like=True):
    """The facts of a file, or the stable code of why there are none.

    `error` is None, `parse_timeout`, `too_deep` or `parse_failed` (the parser crashed, or needed more memory than it may have). `package`
    is the Go package, the PHP or C# namespace, the Java or Kotlin package. `identifiers` and `calls` count whole identifiers.
    """

    path: bytes
    blob: bytes
    language: str
    error: str | None = None
    package: str = ""
    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Import, ...] = ()
    identifiers: dict[str, int] = {}
    calls: dict[str, int] = {}
    chunks: tuple[Chunk, ...] = ()

    def to_bytes(self) -> bytes:
        """The form in which it is kept."""
        return msgspec.msgpack.encode(self, order="deterministic")

    @staticmethod
    def from_bytes(kept: bytes) -> "Parsed":
        """What `to_bytes` gave."""
        return msgspec.msgpack.decode(kept, type=Parsed)
