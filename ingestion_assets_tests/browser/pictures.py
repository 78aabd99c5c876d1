"""The pictures of the documentation: screenshots that the tests have left in `artifacts/screenshots`, made small.

`python -m ingestion_assets_tests.browser.pictures` after the tests, or `make pictures`, which runs those that are needed.
"""

from PIL import Image

from ingestion_assets_tests.browser.dagster_ui import SCREENSHOTS

IMAGES = SCREENSHOTS.parents[1] / "docs" / "images"
NAMES = (
    "asset-graph", "canceled-run", "choosing-a-partition", "claim", "failed-check", "long-step", "materialization", "overview", "runs", "site",
)  # fmt: skip
COLORS = 128
MOST_BYTES = 150_000


def main() -> None:
    """Replace the pictures of which there is a newer screenshot."""
    for name in NAMES:
        taken, kept = SCREENSHOTS / f"{name}.png", IMAGES / f"{name}.png"
        if not taken.exists():
            print(f"{name}: no screenshot; it stays as it is")
            continue
        Image.open(taken).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(kept, optimize=True)
        size = kept.stat().st_size
        print(f"{name}: {size / 1000:.0f} kB")
        if size > MOST_BYTES:
            raise SystemExit(f"{kept} is larger than {MOST_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main()
