"""A repository made up of two clusters of files, in three languages, that have nothing to do with each other."""

from collections.abc import Mapping

BREWING, SAILING = "brewing", "sailing"
_WORDS = {
    BREWING: ("kettle", "mash", "hops", "barley", "yeast", "wort", "ferment", "malt", "boil", "lauter"),
    SAILING: ("rudder", "mast", "jib", "halyard", "keel", "tack", "harbour", "anchor", "spinnaker", "tide"),
}
FILES_EACH = 8


def files() -> Mapping[str, str]:
    """Path to content. Each cluster has Python, JavaScript and Go, and its files use each other."""
    made: dict[str, str] = {"README.md": "# Planted\n"}
    for cluster, words in _WORDS.items():
        for number in range(FILES_EACH):
            name, first, second = words[number], words[(number + 1) % 8], words[(number + 3) % 8]
            made[f"{cluster}/{name}.py"] = (
                f"from {cluster}.{first} import {first}_{words[8]}\n\n\n"
                f"def {name}_{words[8]}({second}_{words[9]}):\n"
                f"    {words[8]}_{name} = {first}_{words[8]}({second}_{words[9]})\n"
                f"    return {words[9]}_{second}({words[8]}_{name})\n"
            )
        made[f"{cluster}/web/{words[0]}.js"] = (
            f"import {{ {words[1]}{words[8].title()} }} from './{words[1]}.js'\n\n"
            f"export function {words[0]}{words[8].title()}({words[2]}) {{\n"
            f"  return {words[1]}{words[8].title()}({words[2]}.{words[3]}, {words[5]}, {words[6]})\n}}\n"
        )
        made[f"{cluster}/web/{words[1]}.js"] = (
            f"export function {words[1]}{words[8].title()}({words[2]}, {words[5]}, {words[6]}) {{\n"
            f"  return {words[2]} + {words[5]} + {words[6]} + '{words[4]}'\n}}\n"
        )
        made[f"{cluster}/{words[0]}.go"] = (
            f"package {cluster}\n\nfunc {words[0].title()}{words[8].title()}({words[2]} {words[7].title()}) {words[7].title()} {{\n"
            f"\treturn {words[2]}.{words[9].title()}({words[5]}, {words[6]})\n}}\n"
        )
    return made


def cluster_of(path: str) -> str:
    return path.partition("/")[0]
