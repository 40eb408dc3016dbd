"""Write the reference pages of all element classes to docs/reference/, one Markdown file each and an index."""

from __future__ import annotations

from pathlib import Path

from penstock.elements import catalog
from penstock.elements.reference import reference_of

TARGET = Path(__file__).parent / "reference"


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    groups: dict[str, list[str]] = {}
    for name in catalog.class_names():
        cls = catalog.find(name)
        assert cls is not None
        page = reference_of(cls)
        (TARGET / f"{name}.md").write_text(page.markdown())
        groups.setdefault(page.group, []).append(f"- [{name}]({name}.md): {page.summary}")
    lines = ["# Elements", ""]
    for group in sorted(groups):
        lines += [f"## {group}", "", *groups[group], ""]
    (TARGET / "index.md").write_text("\n".join(lines))
    print(f"{TARGET}: {sum(map(len, groups.values()))} pages")


if __name__ == "__main__":
    main()
