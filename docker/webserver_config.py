"""Login to Airflow's UI by Microsoft Entra ID; read by the FAB auth manager, and only where .env chooses it.

Who gets in, and as what, is decided in Entra ID: by the app roles Admin, Op, User and Viewer of the app registration
(docs/azure.md). They are taken over at every login; whoever has none of them can sign in and see nothing.
"""

import os

from flask_appbuilder.const import AUTH_OAUTH


def _needed(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise RuntimeError(f"{name} is empty: fill it in .env, or leave AIRFLOW_AUTH_MANAGER empty; see docs/azure.md")
    return value


_AUTHORITY = f"https://{os.environ.get('ENTRA_AUTHORITY') or 'login.microsoftonline.com'}/{_needed('ENTRA_TENANT_ID')}"

AUTH_TYPE = AUTH_OAUTH
OAUTH_PROVIDERS = [
    {
        "name": "azure",
        "icon": "fa-windows",
        "token_key": "access_token",
        "remote_app": {
            "client_id": _needed("ENTRA_CLIENT_ID"),
            "client_secret": _needed("ENTRA_CLIENT_SECRET"),
            "api_base_url": f"{_AUTHORITY}/oauth2/v2.0/",
            "authorize_url": f"{_AUTHORITY}/oauth2/v2.0/authorize",
            "access_token_url": f"{_AUTHORITY}/oauth2/v2.0/token",
            "jwks_uri": f"{_AUTHORITY}/discovery/v2.0/keys",
            # FAB itself checks the token's signature, issuer (this tenant) and audience (this application)
            "client_kwargs": {"scope": "openid profile email", "code_challenge_method": "S256"},
        },
    }
]
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"  # without an app role: nothing
AUTH_ROLES_MAPPING = {role: [role] for role in ("Admin", "Op", "User", "Viewer")}
AUTH_ROLES_SYNC_AT_LOGIN = True
