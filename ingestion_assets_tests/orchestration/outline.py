"""What the definitions consist of, in few lines; printed when run as a module, to renew the snapshot."""

from pathlib import Path

import dagster as dg

SNAPSHOT = Path(__file__).with_name("definitions.txt")
HOW_TO_RENEW = "python -m ingestion_assets_tests.orchestration.outline > ingestion_assets_tests/orchestration/definitions.txt"


def outline(repository: dg.RepositoryDefinition) -> str:
    """Asset keys with what they depend on and their checks, jobs, sensors, schedules: a line each."""
    graph = repository.asset_graph
    lines = []
    for key in sorted(graph.get_all_asset_keys(), key=lambda key: key.to_user_string()):
        parents = sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        lines.append(f"asset {key.to_user_string()} < {', '.join(parents) or '-'}")
        lines += [f"  check {check.name}" for check in sorted(graph.get(key).check_keys)]
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            assets = sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
            checks = "checks only" if job.asset_layer.asset_graph.asset_check_keys else "no assets"
            lines.append(f"job {job.name}: {', '.join(assets) or checks}")
    lines += sorted(f"sensor {sensor.name}" for sensor in repository.sensor_defs)
    lines += sorted(f"schedule {one.name}: {one.cron_schedule}" for one in repository.schedule_defs)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from ingestion_assets.definitions import definitions

    print(outline(definitions.get_repository_def()), end="")
