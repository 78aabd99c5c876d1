"""The settings of conversations, under the names that they have had from the beginning."""

from pydantic import Field

from ingestion_assets.settings import FlowSettings


class ConversationsSettings(FlowSettings, env_prefix="INGESTION_"):
    """Read them with `load_flow_settings`."""

    conversation_lanes: int = Field(
        1,
        ge=1,
        le=64,
        description="Lanes per day of conversations: how many runs may write one day side by side.",
    )
    sanitize_messages: bool = Field(
        False, description="Also strip active HTML from every text of a stored message."
    )
    worktrees_in_projects: bool = Field(
        True,
        description="Count sessions in a git worktree (`<repository>/.claude/worktrees/x`, `<repository>/.worktrees/x`, `<repository>.worktrees/x`) to the project of its repository. Changed, it holds for a session from its next message.",
    )
