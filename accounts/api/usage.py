"""What one uses, and what one may: ``/api/me/usage``."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import quotas, usage
from accounts.api.pagination import refuse_unknown
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models_plans import LIMITS
from accounts.scopes import NEWS


class UsageQuery(serializers.Serializer[Any]):
    by = serializers.ChoiceField(choices=["day"], default="day", help_text="Days are UTC's.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        first = serializers.DateField(
            required=False, help_text=f"The first day; {usage.DAYS} days when it is left out."
        )
        last = serializers.DateField(required=False, help_text="The last day; today when it is left out.")
        return {"from": first, "to": last, **super().get_fields()}  # "from" is no name for an attribute


class SpentOut(serializers.Serializer[Any]):
    calls = serializers.IntegerField(help_text="Of models, also those that run.")
    failed = serializers.IntegerField()
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    usd = serializers.DecimalField(max_digits=18, decimal_places=9)
    seconds = serializers.DecimalField(max_digits=15, decimal_places=3, help_text="That models worked.")


class DayOut(SpentOut):
    date = serializers.DateField()


class ModelOut(SpentOut):
    model = serializers.CharField(help_text="A model profile, or a model of the default endpoint.")


class StoredDayOut(serializers.Serializer[Any]):
    date = serializers.DateField()
    revisions = serializers.IntegerField(help_text="Written that day and still kept.")
    bytes = serializers.IntegerField()


class StorageOut(serializers.Serializer[Any]):
    packs = serializers.IntegerField()
    entries = serializers.IntegerField()
    entry_bytes = serializers.IntegerField(
        help_text="Of their texts with all revisions, the trash too, as they lie in the database."
    )
    passages = serializers.IntegerField()
    passage_bytes = serializers.IntegerField(help_text="The same texts once more, cut up for the search.")
    days = StoredDayOut(many=True)


class LimitOut(serializers.Serializer[Any]):
    limit = serializers.ChoiceField(choices=list(LIMITS))
    used = serializers.DecimalField(max_digits=28, decimal_places=9, normalize_output=True)
    allowed = serializers.DecimalField(
        max_digits=28, decimal_places=9, normalize_output=True, allow_null=True, help_text="null: no limit."
    )
    frees_at = serializers.DateTimeField(
        allow_null=True, help_text="When what was used counts no more; null where something has to go or to end first."
    )


class QuotaOut(serializers.Serializer[Any]):
    plan = serializers.CharField(allow_null=True)
    limits = LimitOut(many=True)


class UsageOut(serializers.Serializer[Any]):
    total = SpentOut()
    days = DayOut(many=True, help_text="Those on which a model was called, oldest first.")
    models = ModelOut(many=True, help_text="The dearest first.")
    storage = StorageOut(help_text="Today; its days are those that were asked for.")
    quota = QuotaOut(help_text="What one's plan allows, and what of it is used now. At a limit: 403 `quota_exceeded`.")


class UsageView(ApiView):
    """GET /api/me/usage?from=&to=&by=day"""

    scopes = NEWS
    filter_names = frozenset({"from", "to", "by"})

    @extend_schema(
        operation_id="me_usage",
        responses=UsageOut,
        parameters=[
            OpenApiParameter("from", {"type": "string", "format": "date"}, description="The first day, UTC's."),
            OpenApiParameter("to", {"type": "string", "format": "date"}, description="The last day; today."),
            OpenApiParameter("by", enum=["day"], default="day"),
        ],
        description=f"Tokens, money and calls of one's councils, and what one's packs take up; {usage.DAYS_MAX} days at most.",
    )
    def get(self, request: Request) -> Response:
        refuse_unknown(request, self.filter_names)
        query = self.validated(UsageQuery, request.query_params.dict())
        since, until = usage.between(query.get("from"), query.get("to"))
        report = {**usage.report(self.user, since, until), "quota": quotas.report(self.user)}
        return Response(UsageOut(report).data)


urlpatterns = route("me/usage", UsageView, "me-usage")
