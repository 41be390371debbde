"""The table in docs/settings.md is the code's: `python -m tests.test_settings_doc` prints it for pasting."""

from __future__ import annotations

from pathlib import Path

from app.core.settings import PREFIX, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"


def settings_table() -> str:
    """The settings as a Markdown table, in the order of their declaration."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, setting in Settings.model_fields.items():
        default = f"`{setting.default}`" if setting.default != "" else ""
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {setting.description} |")
    return "\n".join(rows)


def test_the_page_on_settings_lists_every_setting_as_it_is() -> None:
    assert settings_table() in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(settings_table())
