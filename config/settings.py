"""Django settings in sections. Values from outside come through ``config.env``; everything else is a decision made here."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

import structlog
from corsheaders.defaults import default_headers
from csp.constants import NONCE, NONE, SELF
from django.templatetags.static import static
from django.urls import reverse_lazy
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import cleaning, env

BASE_DIR = env.BASE_DIR
DATA_DIR = env.data_dir()

# --- Core -----------------------------------------------------------------------------------------------------------

DEBUG = env.boolean("DEBUG", default=False)
FAILPOINTS = env.text("QUORUM_FAILPOINTS")  # realtime.failpoints: for tests of what a crash leaves behind
ALLOW_FAILPOINTS = env.boolean("QUORUM_ALLOW_FAILPOINTS", default=False)
SECRET_KEY = env.secret("SECRET_KEY")
PUBLIC_URL = env.url("PUBLIC_URL", ("http", "https"), "http://127.0.0.1:8000").rstrip("/")
HTTPS = PUBLIC_URL.startswith("https://")
_PUBLIC_HOST = urlsplit(PUBLIC_URL).hostname or "127.0.0.1"
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", tuple({_PUBLIC_HOST, "127.0.0.1", "localhost", "[::1]"}))

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "import_export",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.headless",
    "channels",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",  # the files of Swagger UI and Redoc
    "pgtrigger",
    "rest_framework",
    "realtime",
    "accounts",
    "knowledge",
    "council",
    "config",
]

MIDDLEWARE = [
    "config.api.RequestIdMiddleware",
    "config.http.safe_headers.SafeHeaders",
    "config.http.proxies.TrustedProxies",
    "config.http.access_log.AccessLog",
    "config.http.access_log.TracebackLog",
    "config.http.compression.Compression",  # after (around) what looks at the plain body
    "config.http.conditional.Conditional",
    "config.deprecations.Deprecation",
    "config.http.limit_headers.LimitHeaders",
    "django.middleware.security.SecurityMiddleware",
    "config.http.bounds.Bounds",
    "corsheaders.middleware.CorsMiddleware",  # around files as well: pages of named origins may import our scripts
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "accounts.middleware.LoginSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.actor_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.middleware.AdminCspMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Store ----------------------------------------------------------------------------------------------------------

DATABASE_URL = env.url("DATABASE_URL", ("postgres", "postgresql"))
_database = urlsplit(DATABASE_URL)
# Threads that wait for a model hold no connection (architecture, section 3), so the pool is sized for work, not for waiting.
DATABASE_POOL_SIZE = env.integer("DATABASE_POOL_SIZE", 10, at_least=1)
_POOL = {"min_size": 0, "max_size": DATABASE_POOL_SIZE, "timeout": 10, "max_idle": 60}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database.path.lstrip("/") or "quorum",
        "USER": env.unquote(_database.username),
        "PASSWORD": env.unquote(_database.password),
        "HOST": _database.hostname or "127.0.0.1",
        "PORT": str(_database.port or 5432),
        # After a restart of the server every pooled connection is dead, and each would cost a task or a request its life. Asking first
        # takes 0.16 ms.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # Without a database a pool would wait for one; a plain connection says at once that there is none.
            "pool": _POOL if DATABASE_URL else False,
            "application_name": "quorum",
            # Parameters travel apart from the statement, so that what every turn runs is parsed and planned once a connection.
            "server_side_binding": True,
            "prepare_threshold": 2,
        },
        "TEST": {"NAME": env.text("QUORUM_TEST_DB_NAME", "test_quorum")},
    },
}

# --- Broker, channel layer, cache -----------------------------------------------------------------------------------

REDIS_URL = env.url("REDIS_URL", ("redis", "rediss", "unix"), "redis://127.0.0.1:6379/0")
CHANNEL_PREFIX = "quorum"
CHANNEL_LAYERS = {
    "default": {
        # The core layer drops messages above its capacity (9.6 % lost at 1,000/s when measured); pub/sub lost none.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": CHANNEL_PREFIX},
    },
}
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "quorum",
        # No retries: redis-py would wait several times over, and a dead cache must not slow anything down.
        "OPTIONS": {"socket_timeout": 0.4, "socket_connect_timeout": 0.4, "retry": Retry(NoBackoff(), 0)},
    },
}
# Of the limits alone: it may be another server, so that a full cache cannot push counters out.
CACHES["limits"] = {
    **CACHES["default"],
    "BACKEND": "accounts.counters.CounterCache",
    "LOCATION": env.url("RATE_LIMIT_REDIS_URL", ("redis", "rediss", "unix"), REDIS_URL),
    "KEY_PREFIX": "quorum-limits",
    # Longer than for others: sign-in stays shut for some seconds after a time-out, and a busy machine is no reason for that.
    "OPTIONS": {**CACHES["default"]["OPTIONS"], "socket_timeout": 1.0, "socket_connect_timeout": 1.0},
}
# Of bodies that are read often (accounts.caching). Whether, where, and how long one of a council at rest is kept.
OBJECT_CACHE = env.boolean("OBJECT_CACHE", default=True)
OBJECT_CACHE_S = env.integer("OBJECT_CACHE_S", 600, at_least=1)
CACHES["objects"] = {
    **CACHES["default"],
    "BACKEND": "accounts.counters.BytesCache",
    "LOCATION": env.url("CACHE_REDIS_URL", ("redis", "rediss", "unix"), REDIS_URL),
    "KEY_PREFIX": "quorum-objects",
}

# --- People, keys, sessions -----------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # strangers' addresses get no mail from us
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False  # the other logins end, this one goes on
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
# accounts.sign_in_guard counts sign-ins, whichever the door: allauth's own counter of them loses count when many come at once, and
# turned away attempts that ours would have let through.
ACCOUNT_RATE_LIMITS: dict[str, Any] | bool = {"login": None} if env.boolean("RATE_LIMITS", default=True) else False
HEADLESS_ONLY = False  # the pages at /accounts serve those who have no SPA
# Off unless it is asked for: whoever gets in can spend the models' money, and embedded stacks send no mail that could verify anyone.
SIGNUP_OPEN = env.boolean("SIGNUP_OPEN", default=False)
HEADLESS_TOKEN_STRATEGY = "accounts.adapter.TokenStrategy"  # noqa: S105  # a dotted name
MFA_ADAPTER = "accounts.adapter.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Quorum"
MFA_TOTP_TOLERANCE = 1  # clocks of telephones go wrong by half a minute
MFA_RECOVERY_CODES_SHOW_ONCE = False
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS  # browsers themselves allow it on localhost alone
# The admin asks staff who have a second factor for it in any case; with this, staff without one are sent to set one up.
ADMIN_REQUIRES_MFA = env.boolean("ADMIN_REQUIRES_MFA", default=False)
# Sign-in at an OpenID Connect server, off unless it is named here.
OIDC_SERVER_URL = env.url("OIDC_SERVER_URL", ("http", "https"))
OIDC_NAME = env.text("OIDC_NAME", "Single sign-on") if OIDC_SERVER_URL else ""
_OIDC = {
    "provider_id": "oidc",
    "name": OIDC_NAME,
    "client_id": env.text("OIDC_CLIENT_ID"),
    "secret": env.text("OIDC_CLIENT_SECRET"),
    "settings": {"server_url": OIDC_SERVER_URL, "fetch_userinfo": True, "oauth_pkce_enabled": True},
}
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [_OIDC] if OIDC_SERVER_URL else []}}
SOCIALACCOUNT_ADAPTER = "accounts.adapter.SocialAccountAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = False  # a link on somebody else's page must not sign anyone in
LOGIN_URL = "/accounts/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/accounts/login"

# --- Mail -----------------------------------------------------------------------------------------------------------

# smtp://user:password@host:587 (STARTTLS) or smtps://… (TLS from the start). Without it mail is written to files in the data
# directory, for whoever runs the stack to read, and nobody has to verify an address.
MAIL_URL = env.url("MAIL_URL", ("smtp", "smtps"))
_mail = urlsplit(MAIL_URL)
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if MAIL_URL else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mail"
EMAIL_HOST, EMAIL_PORT = _mail.hostname or "", _mail.port or (465 if _mail.scheme == "smtps" else 587)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = env.unquote(_mail.username), env.unquote(_mail.password)
EMAIL_USE_SSL = _mail.scheme == "smtps"
EMAIL_USE_TLS = not EMAIL_USE_SSL
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("MAIL_FROM", f"quorum@{_PUBLIC_HOST}")
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if MAIL_URL else "optional"
ACCOUNT_EMAIL_SUBJECT_PREFIX = "Quorum: "
MFA_ALLOW_UNVERIFIED_EMAIL = not MAIL_URL

# `__Host-` cookies exist only over https.
_COOKIE_PREFIX = "__Host-" if HTTPS else ""
SESSION_COOKIE_NAME = f"{_COOKIE_PREFIX}quorum_session"
CSRF_COOKIE_NAME = f"{_COOKIE_PREFIX}quorum_csrf"
DEVICE_COOKIE_NAME = (
    f"{_COOKIE_PREFIX}quorum_device"  # by which an account knows a browser again (accounts.sign_in_guard)
)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# A login ends when nothing was done with it for so long, and after so long in any case (accounts.session_store).
SESSION_ENGINE = "accounts.session_store"
SESSION_IDLE_MINUTES = env.integer("SESSION_IDLE_MINUTES", 30, at_least=1)
SESSION_MAX_HOURS = env.integer("SESSION_MAX_HOURS", 12, at_least=1)
SESSION_COOKIE_AGE = SESSION_MAX_HOURS * 3600
MESSAGE_STORAGE = "config.messages.Messages"
CSRF_FAILURE_VIEW = "config.api.csrf_failure"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL, *env.words("CSRF_TRUSTED_ORIGINS")]

# --- Security headers -----------------------------------------------------------------------------------------------

CORS_ALLOWED_ORIGINS = env.words("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_CREDENTIALS = True
# What our own API and allauth's take beyond what any page may send.
CORS_ALLOW_HEADERS = [
    *default_headers, "idempotency-key", "if-match", "if-none-match", "last-event-id", "x-request-id", "x-session-token",
    "x-login-proof", "x-email-verification-key", "x-password-reset-key",
]  # fmt: skip
CORS_EXPOSE_HEADERS = [
    "Deprecation", "ETag", "Idempotency-Replayed", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "Sunset",
    "X-Request-ID",
]  # fmt: skip
SECURE_SSL_REDIRECT = HTTPS and env.boolean("SECURE_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
BEHIND_PROXY = env.boolean("BEHIND_PROXY", default=False)
# Networks of proxies whose word about the caller counts, and the header that they write it into.
TRUSTED_PROXIES = env.words("TRUSTED_PROXIES", ("127.0.0.0/8", "::1/128") if BEHIND_PROXY else ())
PROXY_HEADER = env.choice("PROXY_HEADER", ("x-forwarded-for", "forwarded"), "x-forwarded-for")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    },
}

# --- Static files ---------------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STATIC_ROOT = env.text("STATIC_ROOT") or None  # only for a proxy; WhiteNoise warns about a folder that is not there
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served straight from the apps' folders: one command, no collectstatic on a laptop. A proxy may serve STATIC_ROOT instead.
WHITENOISE_USE_FINDERS = True
WHITENOISE_ALLOW_ALL_ORIGINS = False  # CORS_ALLOWED_ORIGINS names those that may

# --- API ------------------------------------------------------------------------------------------------------------

DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.ApiKeyAuthentication",
        "accounts.api.authentication.SessionTokenAuthentication",
        "accounts.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["accounts.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "accounts.api.pagination.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.api.problem_handler",
    "PAGE_SIZE": 50,
    "URL_FORMAT_OVERRIDE": None,  # `?format=` belongs to exports
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Quorum",
    "DESCRIPTION": "Knowledge packs, and councils of language models that answer from them.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "PackStatusEnum": "knowledge.states.PackStatus",
        "IndexStatusEnum": "knowledge.states.IndexStatus",
        "RoleEnum": "knowledge.models.Role",
        "ShareRoleEnum": "knowledge.api.sharing.ROLES",
        "ApiKeyStatusEnum": "accounts.keys.STATUSES",
        "DeliveryStateEnum": "accounts.models_webhooks.DeliveryState",
        "WebhookEventEnum": "accounts.webhooks.kinds.CHOICES",
        "WebhookTypeEnum": "accounts.webhooks.kinds.TYPES",
    },
    "PREPROCESSING_HOOKS": ["accounts.api.schema.drop_slash_twins"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.complete",
    ],
}

IDEMPOTENCY_HOURS = env.integer("IDEMPOTENCY_HOURS", 24, at_least=1)  # how long the first answer to a POST is repeated

# How often one caller may do what; accounts.limits counts. RATE_LIMITS=false switches all of them off, "off" one of them.
RATELIMIT_ENABLE = env.boolean("RATE_LIMITS", default=True)
RATELIMIT_USE_CACHE = "limits"
_RATES = {  # of a user, of one of their keys, of an address that strangers come from
    "read": ("6000/m", "3000/m", "600/m"),
    "write": ("2400/m", "1200/m", "120/m"),
    "search": ("1200/m", "600/m", "120/m"),
    "run": ("240/m", "120/m", "60/m"),
    "stream": ("600/m", "300/m", "120/m"),
}
RATE_LIMITS = {
    # Attempts to sign in (accounts.sign_in_guard): of one address (or known device) on one account, of one address on all of
    # them, and of all strangers on one account; above the last an attempt costs a proof of work.
    "login": env.text("RATE_LIMIT_LOGIN", "10/m"),
    "login_ip": env.text("RATE_LIMIT_LOGIN_IP", "60/m"),
    "login_admin": env.text("RATE_LIMIT_LOGIN_ADMIN", "10/m"),  # of one address at the admin's door
    "login_account": env.text("RATE_LIMIT_LOGIN_ACCOUNT", "30/10m"),
    **{
        f"{name}{whose}": env.rate(f"RATE_LIMIT_{name}{whose}".upper(), rate)
        for name, rates in _RATES.items()
        for whose, rate in zip(("", "_key", "_ip"), rates, strict=True)
    },
}

SOCKETS_PER_USER = env.integer(
    "SOCKETS_PER_USER", 50, at_least=1
)  # sockets and event streams of one user in one process

# --- Work -----------------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # rows are truth: a lost task is found and sent again by the sweeper
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ROUTES = {
    "council.tasks.run_turns": {"queue": "turns"},
    "council.tasks.*": {"queue": "control"},
    "knowledge.tasks.sweep*": {"queue": "control"},
    "knowledge.tasks.*": {"queue": "index"},
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "health_check_interval": 10,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BEAT_SCHEDULE = {
    **cleaning.beat(),
    "knowledge-sweep-ann": {
        "task": "knowledge.tasks.sweep_ann",
        "schedule": 30.0,
        "options": {"queue": "control", "expires": 30},
    },
    "knowledge-sweep": {
        "task": "knowledge.tasks.sweep",
        "schedule": 5.0,
        "options": {"queue": "control", "expires": 5},
    },
}

# --- Audit log ---------------------------------------------------------------------------------------------------------

AUDIT_DAYS = env.integer(
    "AUDIT_DAYS", 400, at_least=1
)  # then entries go, whole seals from the oldest on (docs/audit.md)
CELERY_BEAT_SCHEDULE["audit-seal"] = {
    "task": "accounts.tasks.seal_audit",
    "schedule": 60.0,
    "options": {"queue": "control", "expires": 60},
}

# --- Accounts that end ---------------------------------------------------------------------------------------------------

ACCOUNT_GRACE_DAYS = env.integer("ACCOUNT_GRACE_DAYS", 7)  # a deletion can be called off for so long; 0: not at all
ACCOUNT_EXPORT_HOURS = env.integer("ACCOUNT_EXPORT_HOURS", 24, at_least=1)  # then the file of an export is removed
CELERY_BEAT_SCHEDULE["accounts-sweep"] = {
    "task": "accounts.tasks.sweep",
    "schedule": 30.0,
    "options": {"queue": "control", "expires": 30},
}

# --- Webhooks -----------------------------------------------------------------------------------------------------------

# Webhooks reach the public internet by https. Receivers in these networks ("127.0.0.0/8, 10.1.0.0/16") are reached as well, on any port
# and by plain http: for tests, and for servers whose people may all reach what stands there.
WEBHOOK_PRIVATE_NETWORKS = env.words("WEBHOOK_PRIVATE_NETWORKS")
WEBHOOK_DAYS = env.integer("WEBHOOK_DAYS", 30, at_least=4)  # how long messages are kept; they are tried for 3
CELERY_BEAT_SCHEDULE["webhooks"] = {
    "task": "accounts.tasks.send_webhooks",
    "schedule": 2.0,
    "options": {"queue": "control", "expires": 2},
}

# --- Knowledge ------------------------------------------------------------------------------------------------------

TRASH_DAYS = env.integer("TRASH_DAYS", 30)  # what is deleted can be restored for so long
SEARCH_LOG = env.boolean("SEARCH_LOG", default=True)
SEARCH_LOG_DAYS = env.integer("SEARCH_LOG_DAYS", 90, at_least=1)

# --- Models ---------------------------------------------------------------------------------------------------------

LLM_PROVIDER = env.choice("LLM_PROVIDER", ("openai", "anthropic"), "openai")
LLM_BASE_URL = env.url("LLM_BASE_URL", ("http", "https"))
LLM_API_KEY = env.text("LLM_API_KEY", "none")
LLM_MODEL = env.text("LLM_MODEL", env.SERVICES.get("llm_model", ""))
LLM_STYLE = env.choice("LLM_STYLE", ("auto", "structured", "guided"), "auto")
LLM_TOOLS = env.boolean("LLM_TOOLS", default=False)  # models of the default endpoint can call tools (search_packs)
# US dollars per million tokens of the default model. Empty: unknown, and a budget in money cannot be kept; 0: free.
LLM_PRICE_IN = env.decimal("LLM_PRICE_IN")
LLM_PRICE_OUT = env.decimal("LLM_PRICE_OUT")
LLM_PRICE_CACHED = env.decimal("LLM_PRICE_CACHED")
# Model profiles are typed in by staff: they reach the public internet, and these networks ("127.0.0.0/8, 10.1.0.0/16").
LLM_PRIVATE_NETWORKS = env.words("LLM_PRIVATE_NETWORKS")
# What seals their keys in the database, newest first. All web servers and workers must have the same.
ENCRYPTION_KEYS = env.words("ENCRYPTION_KEYS") or [env.secret("ENCRYPTION_KEY")]
# Empty = the embedded MiniLM; otherwise any OpenAI-compatible embeddings endpoint.
EMBEDDING_BASE_URL = env.url("EMBEDDING_BASE_URL", ("http", "https"))
EMBEDDING_API_KEY = env.text("EMBEDDING_API_KEY", "none")
EMBEDDING_MODEL = env.text("EMBEDDING_MODEL", "")
EMBEDDING_DIMENSION = env.integer("EMBEDDING_DIMENSION", 0)
SPACE_GRACE_S = env.integer("SPACE_GRACE_S", 0)  # how long the vectors of a pack's former model are kept

# --- Imports --------------------------------------------------------------------------------------------------------

IMPORT_MAX_BYTES = env.integer("IMPORT_MAX_BYTES", 50 * 1024 * 1024, at_least=1)  # of one file
IMPORT_MAX_UNPACKED_BYTES = env.integer("IMPORT_MAX_UNPACKED_BYTES", 200 * 1024 * 1024, at_least=1)
IMPORT_MAX_FILES = env.integer("IMPORT_MAX_FILES", 10_000, at_least=1)  # of an archive
IMPORT_MAX_ITEMS = env.integer("IMPORT_MAX_ITEMS", 10_000, at_least=1)  # entries of one import
IMPORT_MAX_PAGES = env.integer("IMPORT_MAX_PAGES", 2_000, at_least=1)  # of a PDF
IMPORT_MEMORY_BYTES = env.integer("IMPORT_MEMORY_BYTES", 768 * 1024 * 1024, at_least=128 * 1024 * 1024)
IMPORT_FILE_SECONDS = env.integer("IMPORT_FILE_SECONDS", 60, at_least=1)
IMPORT_ORPHAN_MINUTES = env.integer("IMPORT_ORPHAN_MINUTES", 60, at_least=30)  # of files that no import names
IMPORT_TOTAL_SECONDS = env.integer("IMPORT_TOTAL_SECONDS", 900, at_least=1)
# Hosts that pages may be fetched from: "example.org", or ".example.org" for everything below it. Empty: none.
IMPORT_URL_ALLOWLIST = env.words("IMPORT_URL_ALLOWLIST")

# --- Search ---------------------------------------------------------------------------------------------------------

SEARCH_CACHE_S = env.integer("SEARCH_CACHE_S", 300)  # how long a result is kept; 0 switches the cache off
# Spaces of this many passages get an HNSW index, and lose it again below the second number.
ANN_BUILD_FROM = env.integer("ANN_BUILD_FROM", 20_000, at_least=1)
ANN_DROP_BELOW = env.integer("ANN_DROP_BELOW", 15_000)
ANN_SAMPLE_SHARE = env.integer("ANN_SAMPLE_PERCENT", 1) / 100  # of searches, compared with exact search
ANN_MIN_RECALL = env.integer("ANN_MIN_RECALL_PERCENT", 90) / 100  # below it, search of the space is exact again
# A second model for the first 30 hits, behind POST /rerank (Cohere's and Jina's protocol). Empty = none.
RERANKER_BASE_URL = env.url("RERANKER_BASE_URL", ("http", "https"))
RERANKER_API_KEY = env.text("RERANKER_API_KEY")
RERANKER_MODEL = env.text("RERANKER_MODEL")
RERANKER_TIMEOUT_MS = env.integer("RERANKER_TIMEOUT_MS", 300, at_least=1)

INDEX_LEASE_S = env.integer("INDEX_LEASE_S", 30, at_least=2)

# --- Council --------------------------------------------------------------------------------------------------------

# How long a worker that says nothing keeps a turn, or a batch of entries. Shorter finds dead workers sooner and takes slow ones for dead.
TURN_LEASE_S = float(env.integer("TURN_LEASE_S", 15, at_least=2))
TURN_HEARTBEAT_S = 0.5
TURN_MODEL_ERRORS_MAX = 4
COUNCIL_DRAFT_DAYS = env.integer("COUNCIL_DRAFT_DAYS", 30, at_least=1)  # then drafts that nobody started are archived
COUNCIL_PAUSED_DAYS = env.integer("COUNCIL_PAUSED_DAYS", 30, at_least=1)  # then paused councils are stopped
COUNCIL_STUCK_HOURS = env.integer("COUNCIL_STUCK_HOURS", 24, at_least=1)  # after a run's deadline; see council.cleaning

# --- Admin ----------------------------------------------------------------------------------------------------------


def _menu_item(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    """A link in the sidebar to a model's list, for those who may see it."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


UNFOLD = {
    "SITE_TITLE": "Quorum",
    "SITE_HEADER": "Quorum",
    "SITE_SYMBOL": "forum",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("img/quorum.svg")}],
    "SHOW_HISTORY": True,
    "STYLES": [lambda _request: static("css/admin_knowledge.css")],
    "LOGIN": {"form": "accounts.forms.AdminSignInForm"},
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": True,
        "navigation": [
            {
                "title": "Councils",
                "items": [
                    _menu_item("Sessions", "forum", "council", "councilsession"),
                    _menu_item("Templates", "chair", "council", "counciltemplate"),
                    _menu_item("Messages", "chat", "council", "message"),
                    _menu_item("Model calls", "neurology", "council", "llmcall"),
                    {
                        **_menu_item("Spend", "payments", "council", "llmcall"),
                        "link": reverse_lazy("admin:council_llmcall_spend"),
                    },
                    _menu_item("Model profiles", "memory", "council", "modelprofile"),
                    _menu_item("Daily budgets", "account_balance_wallet", "council", "dailybudget"),
                ],
            },
            {
                "title": "Knowledge",
                "items": [
                    _menu_item("Packs", "library_books", "knowledge", "knowledgepack"),
                    _menu_item("Entries", "article", "knowledge", "entry"),
                    _menu_item("Golden questions", "help", "knowledge", "goldenquestion"),
                    _menu_item("Evaluations", "monitoring", "knowledge", "evaluation"),
                    _menu_item("Searches", "search", "knowledge", "searchlog"),
                    _menu_item("Imports", "upload_file", "knowledge", "import"),
                    _menu_item("Snapshots", "photo_library", "knowledge", "snapshot"),
                    _menu_item("Embedding models", "data_array", "knowledge", "embeddingmodel"),
                    _menu_item("Embedding spaces", "deployed_code", "knowledge", "embeddingspace"),
                ],
            },
            {
                "title": "People",
                "items": [
                    _menu_item("Users", "group", "accounts", "user"),
                    _menu_item("API keys", "key", "accounts", "apikey"),
                    _menu_item("Sign-ins", "login", "accounts", "signin"),
                    _menu_item("Webhooks", "webhook", "accounts", "webhookendpoint"),
                    _menu_item("Webhook messages", "outgoing_mail", "accounts", "webhookdelivery"),
                    _menu_item("Audit log", "policy", "accounts", "auditentry"),
                ],
            },
        ],
    },
}

# --- Logs -----------------------------------------------------------------------------------------------------------

DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # RequestIdMiddleware has made it harmless
# The access log says all of it in one line.
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = DJANGO_STRUCTLOG_STATUS_DEFAULT_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_2XX_LOG_LEVEL = DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_5XX_LOG_LEVEL = logging.DEBUG
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        # Plain tracebacks: the pretty ones print local variables, and requests, keys and passwords are among those.
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            "foreign_pre_chain": [
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
            ],
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    # One line per model call would repeat what LlmCall records.
    "loggers": {
        "httpx2": {"level": "WARNING"},
        # Two lines a task say less than the rows do, and cost a tenth of a turn.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
    },
}
