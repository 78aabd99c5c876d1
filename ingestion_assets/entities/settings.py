"""The settings of entities: where their definitions lie."""

from pydantic import Field

from ingestion_assets.settings import FlowSettings


class EntitiesSettings(FlowSettings, env_prefix="INGESTION_"):
    """Read them with `load_flow_settings`."""

    entities: str = Field(
        "tpch",
        description="Entity definitions: YAML files or folders of them, separated by `:`; `tpch` is the one that ships. Files in `<home>/entities` count too.",
    )
