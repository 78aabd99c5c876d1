"""How a connection to Google Drive is configured."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class RefreshToken(BaseModel):
    """What a user's consent gave (OAuth 2)."""

    model_config = _STRICT

    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr


class ServiceAccount(BaseModel):
    """A key file of a service account; fields of it that are not needed are passed over."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    client_email: str
    private_key: SecretStr
    private_key_id: str | None = None
    subject: str | None = Field(None, description="The user that it acts for, where it may.")


class DriveConfig(BaseModel):
    """Google Drive: what the credentials see, one shared drive, or one folder with all below it."""

    model_config = _STRICT

    drive_id: str | None = Field(
        None, max_length=200, pattern=r"^[A-Za-z0-9_-]+$", description="A shared drive."
    )
    folder_id: str | None = Field(None, max_length=200, pattern=r"^[A-Za-z0-9_-]+$", description="A folder.")
    oauth: RefreshToken | None = None
    service_account: ServiceAccount | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "DriveConfig":
        if (self.oauth is None) == (self.service_account is None):
            raise ValueError("give either `oauth` or `service_account`")
        return self
