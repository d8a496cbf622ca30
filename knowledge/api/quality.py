"""Routes of the quality loop: golden questions, evaluations, the search log, the review queue."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services
from knowledge.api.params import number
from knowledge.api.serializers import Choice, EntryHeader, ItemsOut, Text
from knowledge.models import Evaluation, EvaluationJob, EvaluationStatus, GoldenQuestion, KnowledgePack, Role
from knowledge.quality import evaluation as running
from knowledge.quality import review, searches, shapes
from knowledge.ranking import Mode
from realtime.errors import Conflict, InvalidInput, NotFound

ITEMS_MAX = 500
ROWS_MAX = 200
DAYS_MAX = 3650


class UuidIn(serializers.UUIDField):
    """An id as text; DRF's own field takes numbers too."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class QuestionIn(serializers.Serializer[Any]):
    question = Text(max_length=1000)
    expected = serializers.ListField(child=UuidIn(), allow_empty=False, max_length=100)


class QuestionOut(serializers.Serializer[GoldenQuestion]):
    id = serializers.UUIDField()
    question = serializers.CharField()
    expected = serializers.ListField(child=serializers.UUIDField())
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: GoldenQuestion) -> dict[str, Any]:
        return shapes.question_json(instance)


class EvaluationIn(serializers.Serializer[Any]):
    mode = Choice(choices=[(mode.value, mode.value) for mode in Mode], required=False)


class EvaluationJobOut(serializers.Serializer[EvaluationJob]):
    """An evaluation that a worker is to make, because the questions are many; when it is finished, the evaluation has this id."""

    id = serializers.UUIDField()
    pack = serializers.UUIDField()
    mode = serializers.ChoiceField(choices=list(Mode))
    status = serializers.ChoiceField(choices=EvaluationStatus.choices)
    error = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: EvaluationJob) -> dict[str, Any]:
        return shapes.job_json(instance)


class ChangesOut(serializers.Serializer[Any]):
    lost = serializers.IntegerField()
    down = serializers.IntegerField()
    up = serializers.IntegerField()
    new = serializers.IntegerField()
    removed = serializers.IntegerField()
    same = serializers.IntegerField()


class EvaluationDiffOut(serializers.Serializer[Any]):
    previous = serializers.UUIDField()
    ndcg_10 = serializers.FloatField(help_text="this run's minus the previous one's")
    counts = ChangesOut()
    questions = serializers.ListField(child=serializers.DictField(), required=False)


class EvaluationHeader(serializers.Serializer[Evaluation]):
    """One run, and how it differs from the one before in the same mode."""

    id = serializers.UUIDField()
    pack = serializers.UUIDField()
    mode = serializers.ChoiceField(choices=list(Mode))
    status = serializers.CharField(help_text="finished; other states are those of EvaluationJobOut")
    index_epoch = serializers.IntegerField()
    questions = serializers.IntegerField()
    ndcg_10 = serializers.FloatField()
    recall_10 = serializers.FloatField()
    mrr = serializers.FloatField()
    created_at = serializers.DateTimeField()
    diff = EvaluationDiffOut(allow_null=True)

    def to_representation(self, instance: Evaluation) -> dict[str, Any]:
        diff = running.diff(instance)
        brief = {name: value for name, value in diff.items() if name != "questions"} if diff else None
        return {**shapes.evaluation_header(instance), "diff": brief}


class EvaluationOut(EvaluationHeader):
    results = serializers.ListField(child=serializers.DictField())

    def to_representation(self, instance: Evaluation) -> dict[str, Any]:
        header = shapes.evaluation_header(instance)
        return {**header, "diff": running.diff(instance), "results": instance.results}


class QueryOut(serializers.Serializer[Any]):
    query = serializers.CharField()
    count = serializers.IntegerField()
    zero_results = serializers.IntegerField()
    best = serializers.FloatField(allow_null=True)
    took_ms = serializers.FloatField()
    last_at = serializers.DateTimeField()


class QueriesOut(serializers.Serializer[Any]):
    results = QueryOut(many=True)


class UnseenOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField()


class SummaryOut(serializers.Serializer[Any]):
    days = serializers.IntegerField()
    searches = serializers.IntegerField()
    zero_results = serializers.IntegerField()
    zero_result_rate = serializers.FloatField(allow_null=True)
    took_ms = serializers.FloatField(allow_null=True)
    top_queries = QueryOut(many=True)
    zero_result_queries = QueryOut(many=True)
    weakest_queries = QueryOut(many=True)
    never_retrieved = serializers.IntegerField()
    never_retrieved_entries = UnseenOut(many=True)


class ReviewedIn(serializers.Serializer[Any]):
    reviewed = serializers.ListField(child=UuidIn(), allow_empty=False, max_length=ITEMS_MAX)


class ReviewedOut(serializers.Serializer[Any]):
    reviewed = serializers.IntegerField()


class ReviewItemOut(serializers.Serializer[Any]):
    entry = EntryHeader()
    cited = serializers.IntegerField()
    retrieved = serializers.IntegerField()
    days = serializers.FloatField()
    damage = serializers.FloatField(help_text="cited × days since the last review")
    overdue = serializers.BooleanField()
    reviewed_at = serializers.DateTimeField(allow_null=True)
    review_by = serializers.DateField(allow_null=True)


class ReviewOut(serializers.Serializer[Any]):
    results = ReviewItemOut(many=True)


class GoldenQuestionListView(ApiView):
    """POST and GET /api/knowledge-packs/{id}/golden-questions"""

    scopes = PACKS

    @extend_schema(
        request=QuestionIn,
        responses={201: QuestionOut, 207: ItemsOut},
        description=f"Takes one question, or an array of at most {ITEMS_MAX}: then the answer is 207 with one result for each.",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        if isinstance(request.data, list):
            if len(request.data) > ITEMS_MAX:
                raise InvalidInput(f"At most {ITEMS_MAX} questions may be sent at once.", code="too_many_items")
            return Response({"results": [self._one(pack, n, item) for n, item in enumerate(request.data)]}, status=207)
        made = services.add_golden_question(pack.pk, self.user, **self.validated(QuestionIn))
        return Response(shapes.question_json(made), status=201)

    def _one(self, pack: KnowledgePack, index: int, item: Any) -> dict[str, Any]:
        try:
            made = services.add_golden_question(pack.pk, self.user, **self.validated(QuestionIn, item))
        except InvalidInput as error:
            errors = error.errors or [{"pointer": "", "detail": error.detail}]
            return {"index": index, "status": "failed", "errors": errors}
        except Conflict as error:
            errors = [{"pointer": "/question", "detail": error.detail}]
            return {"index": index, "status": "failed", "errors": errors}
        return {"index": index, "status": "created", "id": str(made.pk)}

    @extend_schema(responses=QuestionOut(many=True))
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        return self.paginated(pack.golden_questions.prefetch_related("expected"), QuestionOut)


class GoldenQuestionView(ApiView):
    """GET, PATCH and DELETE /api/knowledge-packs/{id}/golden-questions/{question}"""

    scopes = PACKS

    @extend_schema(responses=QuestionOut)
    def get(self, request: Request, pk: str, question: str) -> Response:
        return Response(shapes.question_json(self._found(pk, question, Role.VIEWER)))

    @extend_schema(request=QuestionIn, responses=QuestionOut)
    def patch(self, request: Request, pk: str, question: str) -> Response:
        found = self._found(pk, question, Role.EDITOR)
        changed = services.change_golden_question(found.pk, **self.validated(QuestionIn, partial=True))
        return Response(shapes.question_json(changed))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str, question: str) -> Response:
        services.delete_golden_question(self._found(pk, question, Role.EDITOR).pk)
        return Response(status=204)

    def _found(self, pk: str, question: str, role: Role) -> GoldenQuestion:
        pack = selectors.pack_for(self.user, pk, role)
        found = pack.golden_questions.filter(pk=selectors.uuid_or_not_found(question)).first()
        if found is None:
            raise NotFound("There is no such golden question.")
        return found


class EvaluationListView(ApiView):
    """POST and GET /api/knowledge-packs/{id}/evaluations"""

    scopes = PACKS

    @extend_schema(
        request=EvaluationIn,
        responses={201: EvaluationOut, 202: EvaluationJobOut},
        description=f"Asks the golden questions now; more than {services.EVALUATE_AT_ONCE} are left to a worker (202).",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        mode = self.validated(EvaluationIn, request.data or {}).get("mode", Mode.HYBRID.value)
        if not services.evaluable_at_once(pack):
            return Response(shapes.job_json(services.queue_evaluation(pack.pk, self.user, mode)), status=202)
        made = services.evaluate(pack, self.user, mode)
        return Response(EvaluationOut(running.evaluations(pack).get(pk=made.pk)).data, status=201)

    @extend_schema(responses=EvaluationHeader(many=True))
    def get(self, request: Request, pk: str) -> Response:
        return self.paginated(running.evaluations(selectors.pack_for(self.user, pk)), EvaluationHeader)


class EvaluationView(ApiView):
    """GET /api/knowledge-packs/{id}/evaluations/{evaluation}: also of one that is queued, running or failed"""

    scopes = PACKS

    @extend_schema(
        responses=PolymorphicProxySerializer(
            component_name="EvaluationState",
            serializers=[EvaluationOut, EvaluationJobOut],
            resource_type_field_name=None,
        )
    )
    def get(self, request: Request, pk: str, evaluation: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        wanted = selectors.uuid_or_not_found(evaluation)
        job = pack.evaluation_jobs.filter(pk=wanted).first()  # first, for it may become an evaluation at any time
        if found := running.evaluations(pack).filter(pk=wanted).first():
            return Response(EvaluationOut(found).data)
        if job is None:
            raise NotFound("There is no such evaluation.")
        return Response(shapes.job_json(job))


_DAYS = OpenApiParameter("days", OpenApiTypes.INT, default=30, description=f"1 to {DAYS_MAX}")
_LIMIT = OpenApiParameter("limit", OpenApiTypes.INT, default=50, description=f"1 to {ROWS_MAX}")


class SearchesView(ApiView):
    """GET /api/knowledge-packs/{id}/searches: queries of people and councils, latest first"""

    scopes = PACKS

    @extend_schema(responses=QueriesOut, parameters=[_DAYS, _LIMIT])
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        rows = searches.queries(searches.logged(pack, number(request, "days", 30, DAYS_MAX)))
        shown = rows[: number(request, "limit", 50, ROWS_MAX)]
        return Response({"results": [searches.query_json(row) for row in shown]})


class SearchesSummaryView(ApiView):
    """GET /api/knowledge-packs/{id}/searches/summary"""

    scopes = PACKS

    @extend_schema(responses=SummaryOut, parameters=[_DAYS])
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        return Response(searches.summary(pack, number(request, "days", 30, DAYS_MAX)))


class ReviewQueueView(ApiView):
    """GET and POST /api/knowledge-packs/{id}/review-queue"""

    scopes = PACKS

    @extend_schema(responses=ReviewOut, parameters=[_LIMIT])
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        entries = review.review_queue([pack])[: number(request, "limit", 50, ROWS_MAX)]
        return Response({"results": [review.queue_json(entry) for entry in entries]})

    @extend_schema(
        request=ReviewedIn, responses=ReviewedOut, description="Marks entries of the pack as reviewed by the caller."
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        wanted = self.validated(ReviewedIn)["reviewed"]
        known = set(selectors.entries_of(pack).filter(pk__in=wanted).values_list("pk", flat=True))
        if missing := [n for n, entry_id in enumerate(wanted) if entry_id not in known]:
            detail = "This is not the id of an entry of the pack."
            raise InvalidInput(detail, errors=[{"pointer": f"/reviewed/{n}", "detail": detail} for n in missing])
        return Response({"reviewed": services.mark_reviewed(wanted, self.user)})
