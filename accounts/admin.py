"""People and keys in the admin. Like every other door it changes things through ``services``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts import admin_webhooks as _webhooks  # noqa: F401  # registers its pages
from accounts import audit, departures, second_factor, services
from accounts.admin_plans import shown_usage
from accounts.errors import LastSuperuser
from accounts.models import ApiKey, SignIn, User
from accounts.scopes import MEANINGS


class NewUserForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("email", "name")


class NewPasswordForm(AdminPasswordChangeForm):
    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        user: User = super().save(commit)
        audit.record("user.password_changed", user)
        return user


RIGHTS = {"is_staff", "is_superuser", "groups", "user_permissions"}


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    form = UserChangeForm
    add_form = NewUserForm
    change_password_form = NewPasswordForm
    list_display = ("email", "name", "is_active", "is_staff", "last_login", "leaves")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined", "used_now", "leaves")
    autocomplete_fields = ("plan",)
    list_select_related = ("departure",)
    actions = ("delete_account", "keep_account")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Plan", {"fields": ("plan", "used_now")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined", "leaves")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "usable_password", "password1", "password2")}),)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data:
            services.recheck_sockets(obj)
        _record(obj, set(form.changed_data), change)

    @admin.display(description="used now")
    def used_now(self, user: User) -> str:
        return shown_usage(user)

    @admin.display(description="deleted")
    def leaves(self, user: User) -> datetime | None:
        """From when on, where its owner or staff asked for it."""
        departure = getattr(user, "departure", None)
        return departure.due_at if departure else None

    @admin.action(description="Delete with everything, after the grace period", permissions=["delete"])
    def delete_account(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            try:
                departures.ask(user)
            except LastSuperuser:
                messages.error(request, f"{user} is the only administrator.")
            else:
                messages.success(request, f"{user} is locked out and will be deleted.")

    @admin.action(description="Do not delete after all", permissions=["change"])
    def keep_account(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        kept = sum(departures.cancel(user) for user in queryset)
        messages.success(request, f"{kept} accounts stay.")

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        audit.record("user.deleted", obj)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            audit.record("user.deleted", user)
        super().delete_queryset(request, queryset)


def _record(user: User, changed: set[str], change: bool) -> None:
    if not change:
        audit.record("user.created", user)
        return
    if "is_active" in changed:
        audit.record("user.activated" if user.is_active else "user.deactivated", user)
    if rights := sorted(changed & RIGHTS):
        audit.record("user.permissions_changed", user, fields=rights, staff=user.is_staff, superuser=user.is_superuser)
    if others := sorted(changed - RIGHTS - {"is_active"}):
        audit.record("user.changed", user, fields=others)


class NewApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), f"{scope}: {meaning}") for scope, meaning in MEANINGS.items()],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ("user", "name", "scopes", "expires_at")

    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError("A key must expire in the future.")
        return moment


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    """A key is created, looked at and revoked, never edited. Deleting is left possible, or no user could be deleted."""

    list_display = (
        "name", "user", "scopes", "prefix", "created_at", "last_used_at", "last_used_ip", "expires_at", "rotated_at",
        "previous_until", "revoked_at",
    )  # fmt: skip
    list_filter = ("revoked_at", "expires_at")
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__email")
    ordering = ("-created_at", "-id")
    autocomplete_fields = ("user",)
    actions = ("revoke",)

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **({} if change else {"form": NewApiKeyForm}), **kwargs)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return ("user", "name", "scopes", "expires_at") if obj is None else self.list_display

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            raise TypeError("keys are not edited")
        key, plaintext = services.create_api_key(obj.user, obj.name, obj.expires_at, scopes=obj.scopes)
        obj.__dict__.update(key.__dict__)
        messages.warning(request, f"The key, shown this once: {plaintext}")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            services.revoke_api_key(key)
        messages.success(request, f"{len(queryset)} keys no longer work.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")


@admin.register(SignIn)
class SignInAdmin(ModelAdmin):
    """The trace of sign-ins, to read."""

    list_display = ("at", "user", "succeeded", "ip", "user_agent")
    list_filter = ("succeeded",)
    list_select_related = ("user",)
    search_fields = ("user__email", "ip")
    ordering = ("-at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SignIn | None = None) -> bool:
        return False


admin.site.has_permission = second_factor.may_enter_admin  # type: ignore[method-assign]  # the site is unfold's, made before us
